"""A network of convolutions is served by the plan that was found fastest, and answers as PyTorch."""

import json
import os

import harness
import numpy as np
import pytest
import torch
import wire

SECONDS = 60
CORES = len(os.sched_getaffinity(0))


def _halves(threads: int) -> list:
    return [threads >> by for by in range(1, threads.bit_length())]


def _network() -> torch.nn.Module:
    torch.manual_seed(3)
    layers = [torch.nn.Conv2d(3, 32, 3, padding=1)]
    for _ in range(6):
        layers += [torch.nn.BatchNorm2d(32), torch.nn.ReLU(),
                   torch.nn.Conv2d(32, 32, 3, padding=1)]
    return torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
                               torch.nn.Linear(32, 5)).eval()


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    made = tmp_path_factory.mktemp("plans")
    network = _network()
    example = torch.rand(1, 3, 64, 64)
    for name, config in (("auto", ""), ("pinned", "plan: onednn\n"),
                         ("without", "plans_forbidden: [graph, saved]\n")):
        (made / name / "1").mkdir(parents=True)
        torch.jit.trace(network, example).save(str(made / name / "1" / "model.pt"))
        (made / name / "model.yaml").write_text(
            config + "softmax: false\ninputs: [{name: x, data_type: float32, shape: [3, 64, 64]}]\n")
    return made


def reports(daemon) -> dict:
    shown = harness.run_torchctl("--address", daemon.grpc, "plan", "--json")
    return {one["name"]: one["plan"] for one in json.loads(shown.stdout)}


def test_plans_are_found_kept_shown_and_obeyed(repository, tmp_path):
    cache = tmp_path / "cache"
    flags = ("--plan-seconds-max", SECONDS, "--plan-cache", cache)
    picture = np.random.default_rng(1).normal(size=(3, 64, 64)).astype(np.float32)
    with torch.inference_mode():
        expected = _network()(torch.from_numpy(picture)[None])[0].numpy()

    with harness.serving(tmp_path, repository, *flags) as daemon:
        first = reports(daemon)
        tried = first["auto"]["candidates"]
        whole = [one for one in tried if one["threads"] == 0]
        states = {one["plan"]: one["state"] for one in whole}
        assert states == dict.fromkeys(["frozen", "onednn", "channels_last", "saved", "graph", "direct"],
                                       "timed"), first["auto"]
        timed = {one["plan"]: one["ratio"] for one in whole}
        assert timed["frozen"] == 1
        assert timed[first["auto"]["plan"]] == min(timed.values()) or first["auto"]["plan"] == "frozen"
        # The best one's; run again beside them, it may have fallen behind one that was close.
        fewer = [(one["threads"], one["state"]) for one in tried if one["threads"] > 0]
        assert fewer == [(threads, "timed") for threads in _halves(CORES)]
        [again] = {one["plan"] for one in tried if one["threads"] > 0}
        assert again == first["auto"]["plan"] or timed[again] < 1.3 * min(timed.values())
        assert max(one["difference"] for one in tried) <= 1e-4

        assert first["pinned"] == {"plan": "onednn", "threads": 0, "why": "the model's configuration says so",
                                   "fallbacks": 0, "searching": False, "candidates": []}
        forbidden = {one["plan"] for one in first["without"]["candidates"]
                     if one["state"] == "forbidden"}
        assert forbidden == {"graph", "saved"}
        assert first["without"]["plan"] not in forbidden

        table = harness.run_torchctl("--address", daemon.grpc, "plan", "auto").stdout.decode()
        assert "PLAN" in table and "channels_last" in table
        for name in first:
            answer = daemon.classify(name, wire.tensors(wire.tensor(picture)), top_k=5)
            got = {one.index: one.probability for one in answer.results[0].classes}
            assert [got[i] for i in range(5)] == pytest.approx(list(expected), abs=1e-3)
        _, page = daemon.get("/metrics")
        plan, threads = first["auto"]["plan"], first["auto"]["threads"] or "all"
        assert (f'torchd_model_plan{{model="auto",version="1",plan="{plan}",threads="{threads}"}} 1'
                in page)
        assert 'torchd_plan_fallbacks_total{model="auto",version="1"} 0' in page

    with harness.serving(tmp_path, repository, *flags) as daemon:
        again = reports(daemon)
        assert again["auto"]["why"].endswith("in an earlier search")
        for said in ("plan", "threads", "candidates"):
            assert again["auto"][said] == first["auto"][said]
        assert "plan chosen" not in daemon.log()


def test_plans_of_fewer_bits_serve_where_their_owner_allows_it(tmp_path):
    """Found, pinned, and found in an earlier search."""
    torch.manual_seed(5)
    network = torch.nn.Sequential(torch.nn.Linear(2048, 2048), torch.nn.ReLU(),
                                  torch.nn.Linear(2048, 2048), torch.nn.ReLU(),
                                  torch.nn.Linear(2048, 4)).eval()
    row = np.random.default_rng(2).normal(size=2048).astype(np.float32)
    with torch.inference_mode():
        expected = network(torch.from_numpy(row)[None])[0].numpy()
    inputs = "softmax: false\ninputs: [{name: x, data_type: float32, shape: [2048]}]\n"
    forbidden = "plans_forbidden: [direct, graph, onednn, channels_last, saved]\n"
    for name, config in (("found", "plan_difference_max: 0.2\n" + forbidden),
                         ("int8", "plan: int8\nplan_difference_max: 0.2\n"),
                         ("strict", "plan: int8\nplan_difference_max: 0.000001\n")):
        (tmp_path / "models" / name / "1").mkdir(parents=True)
        torch.jit.script(network).save(str(tmp_path / "models" / name / "1" / "model.pt"))
        (tmp_path / "models" / name / "model.yaml").write_text(config + inputs)
    for _ in range(2):  # The second finds what the first has kept.
        with harness.serving(tmp_path, tmp_path / "models", "--plan-seconds-max", SECONDS,
                             "--plan-cache", tmp_path / "cache") as daemon:
            found = reports(daemon)["found"]
            tried = {one["plan"]: one for one in found["candidates"] if one["threads"] == 0}
            assert tried["int8"]["state"] == "timed" and 1e-3 < tried["int8"]["difference"] < 0.2
            assert "would be faster" not in found["why"]
            for name in ("found", "int8"):
                answer = daemon.classify(name, wire.tensors(wire.tensor(row)), top_k=4)
                got = {one.index: one.probability for one in answer.results[0].classes}
                assert [got[i] for i in range(4)] == pytest.approx(list(expected), abs=0.1)
            listed = json.loads(harness.run_torchctl("--address", daemon.grpc, "models", "--json").stdout)
            strict = next(one for one in listed if one["name"] == "strict")
            assert strict["state"] == "UNAVAILABLE" and "a difference of" in strict["reason"]


@pytest.mark.parametrize("limit", ["--plan-seconds-max", "--trial-seconds-max"])
def test_without_a_search_models_run_frozen_or_as_pinned(repository, tmp_path, limit):
    with harness.serving(tmp_path, repository, limit, 0) as daemon:
        found = reports(daemon)
        assert (found["auto"]["plan"], found["auto"]["candidates"]) == ("frozen", [])
        assert found["pinned"]["plan"] == "onednn"
