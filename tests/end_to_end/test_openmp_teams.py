"""Only executors have OpenMP teams, and together these have no more threads than there are cores
(docs/decisions/0003). A thread of a team is called as the thread that opened the team."""

import collections
import contextlib
import json
import os
import pathlib
import shutil
import threading
import time

import numpy as np
import pytest
import torch
import wire
import yaml

import harness

PLANS = ("saved", "frozen", "onednn", "channels_last", "graph", "direct")
PICTURE = (3, 64, 64)
INPUTS = [{"name": "x", "data_type": "float32", "shape": list(PICTURE)}]


def _add(repository: pathlib.Path, **config) -> None:
    torch.manual_seed(3)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 32, 3), torch.nn.ReLU(), torch.nn.Conv2d(32, 32, 3), torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(32, 5)).eval()
    traced = torch.jit.trace(network, torch.rand(1, *PICTURE))
    for plan in PLANS:
        (repository / plan / "1").mkdir(parents=True)
        traced.save(str(repository / plan / "1" / "model.pt"))
        (repository / plan / "model.yaml").write_text(yaml.safe_dump(
            {"inputs": INPUTS, "softmax": False, "plan": plan, "rows_per_batch_max": 4,
             **config}))


def _threads(daemon) -> collections.Counter:
    """How many there are of each name."""
    names = collections.Counter()
    for task in pathlib.Path(f"/proc/{daemon.process.pid}/task").iterdir():
        with contextlib.suppress(OSError):  # It may end meanwhile.
            names[(task / "comm").read_text().strip()] += 1
    return names


def _team(names: collections.Counter) -> int:
    return sum(count for name, count in names.items() if name.startswith("exec-cpu-"))


def _loaders_doubled(names: collections.Counter) -> list:
    return [name for name, count in names.items() if name.startswith("load-") and count > 1]


def test_only_executors_have_teams_and_these_fit_the_cores(tmp_path):
    cores = len(os.sched_getaffinity(0))
    _add(tmp_path / "models")
    rows = [wire.row(np.random.default_rng(i).normal(size=PICTURE)) for i in range(6)]
    with harness.serving(tmp_path, tmp_path / "models", "--model-control", "explicit") as daemon:
        seen, over = [], threading.Event()

        def look():
            while not over.wait(0.005):
                seen.append(_team(_threads(daemon)))

        looking = threading.Thread(target=look)
        looking.start()
        try:
            for loaded, plan in enumerate(PLANS, 1):
                daemon.admin.LoadModel(wire.admin.LoadModelRequest(model=plan), timeout=60)
                # What it was compiled for may have needed a team for a moment; it has ended.
                assert _loaders_doubled(_threads(daemon)) == []
                for name in PLANS[:loaded]:
                    assert len(daemon.classify(name, *rows).results) == len(rows)
            assert _team(_threads(daemon)) == cores
            assert _loaders_doubled(_threads(daemon)) == []
        finally:
            over.set()
            looking.join()
        assert max(seen) <= cores


def _cpu_seconds(daemon) -> list:
    """Of each thread of the executor's team, its own thread first."""
    took = {}
    for task in pathlib.Path(f"/proc/{daemon.process.pid}/task").iterdir():
        if (task / "comm").read_text().startswith("exec-cpu-"):
            took[int(task.name)] = int((task / "schedstat").read_text().split()[0]) / 1e9
    return [took[thread] for thread in sorted(took)]


def _others_part(daemon, model: str) -> float:
    """Of the executor's own time, in runs of the model: how long the rest of its team worked."""
    row = wire.row(np.random.default_rng(0).normal(size=PICTURE))
    time.sleep(1)  # Those who wait for a team's next run spin for a while.
    before = _cpu_seconds(daemon)
    for _ in range(60):
        daemon.classify(model, row)
    own, *others = (after - was for after, was in zip(_cpu_seconds(daemon), before, strict=True))
    return sum(others) / own


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core")
def test_a_model_pinned_to_one_thread_runs_on_one(tmp_path):
    _add(tmp_path / "models", plan_threads=1)
    for plan in ("frozen", "direct"):
        shutil.copytree(tmp_path / "models" / plan, tmp_path / "models" / f"all-{plan}")
        (tmp_path / "models" / f"all-{plan}" / "model.yaml").write_text(yaml.safe_dump(
            {"inputs": INPUTS, "softmax": False, "plan": plan}))
    with harness.serving(tmp_path, tmp_path / "models", "--cpu-executors", 1) as daemon:
        for plan in ("frozen", "direct"):
            assert _others_part(daemon, f"all-{plan}") > 0.3
        for plan in PLANS:
            assert _others_part(daemon, plan) < 0.1, plan
        shown = harness.run_torchctl("--address", daemon.grpc, "plan", "--json").stdout
        threads = {one["name"]: one["plan"]["threads"] for one in json.loads(shown)}
        assert threads == {**dict.fromkeys(PLANS, 1), "all-frozen": 0, "all-direct": 0}
        _, page = daemon.get("/metrics")
        assert 'torchd_model_plan{model="graph",version="1",plan="graph",threads="1"} 1' in page


def test_more_threads_than_an_executor_has_are_refused(tmp_path):
    cores = len(os.sched_getaffinity(0))
    _add(tmp_path / "models", plan_threads=cores + 1)
    with harness.serving(tmp_path, tmp_path / "models") as daemon:
        shown = harness.run_torchctl("--address", daemon.grpc, "models", "--json").stdout
        for one in json.loads(shown):
            assert f"plan_threads is {cores + 1}, expected 1..{cores}" in one["reason"], one
