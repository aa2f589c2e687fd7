"""A model that is there twice, as TorchScript and as a package, is served by the faster of the two."""

import numpy as np
import pytest
import torch
import yaml

import harness
import wire
from test_bad_models import models
from test_plans import reports

FLAGS = ("--plan-seconds-max", 60, "--plan-cache", "")


class Chain(torch.nn.Module):
    """So many small steps that what is compiled into one is faster by far."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(200):
            x = torch.sin(x * 1.01 + 0.1)  # No step that oneDNN Graph knows.
        return torch.stack([x.sum(1), x.mean(1), x.amax(1)], 1)


class Other(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([x.sum(1), x.mean(1), x.amin(1)], 1)


def package(module, path, rows=2, length=None) -> None:
    """Of any number of rows, or of one; with `length`, of at most that many numbers."""
    shapes = {}
    if rows > 1:
        shapes[0] = torch.export.Dim("batch", min=1, max=64)
    if length:
        shapes[1] = torch.export.Dim("length", min=2, max=length)
    with torch.no_grad():
        program = torch.export.export(module, (torch.ones(rows, 8),),
                                      dynamic_shapes=(shapes,) if shapes else None)
        torch._inductor.aoti_compile_and_package(
            program, package_path=str(path),
            inductor_configs={"freezing": True, "cpp.dynamic_threads": True})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The files that the tests put together."""
    folder = tmp_path_factory.mktemp("made")
    torch.jit.script(Chain().eval()).save(str(folder / "chain.pt"))
    package(Chain().eval(), folder / "any.pt2")
    package(Chain().eval(), folder / "one.pt2", rows=1)
    package(Chain().eval(), folder / "short.pt2", length=32)
    package(Other().eval(), folder / "other.pt2")
    (folder / "broken.pt2").write_bytes((folder / "any.pt2").read_bytes()[:5000])
    return folder


def _add(repository, made, name, pt2, size=8, **config) -> None:
    version = repository / name / "1"
    version.mkdir(parents=True)
    (version / "model.pt").write_bytes((made / "chain.pt").read_bytes())
    if pt2:
        (version / "model.pt2").write_bytes((made / pt2).read_bytes())
    inputs = [{"name": "x", "data_type": "float32", "shape": [size]}]
    (repository / name / "model.yaml").write_text(
        yaml.safe_dump({"inputs": inputs, "softmax": False, **config}))


def _states(report) -> dict:
    return {one["plan"]: one["state"] for one in report["candidates"]}


def _check(daemon, name, *rows) -> None:
    results = daemon.classify(name, *map(wire.row, rows), softmax=False).results
    for row, result in zip(rows, results, strict=True):
        expected = Chain()(torch.tensor([row], dtype=torch.float32))[0].numpy()
        assert np.abs(wire.probabilities(result) - expected).max() <= 1e-3


ROWS = [[float(i + j) / 10 for i in range(8)] for j in range(3)]


def test_a_package_serves_where_it_is_the_fastest_and_allowed(made, tmp_path):
    repository = tmp_path / "models"
    _add(repository, made, "any", "any.pt2")
    _add(repository, made, "one", "one.pt2")
    _add(repository, made, "batches", "one.pt2", rows_per_batch_max=4)
    _add(repository, made, "forbidden", "any.pt2", plans_forbidden=["package"])
    _add(repository, made, "wrong", "other.pt2")
    _add(repository, made, "broken", "broken.pt2")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with harness.serving(tmp_path, repository, *FLAGS,
                         environment={"TMPDIR": str(scratch)}) as own:
        found = reports(own)
        (ratio,) = [one["ratio"] for one in found["one"]["candidates"] if one["plan"] == "package"]
        # On a busy machine its threads wait for each other, and it is not the fastest.
        assert found["one"]["plan"] == "package" or ratio > 0.98, found["one"]
        for name in ("any", "one"):  # The first takes two rows at least, and twice the time.
            assert _states(found[name])["package"] == "timed"
        assert "package" not in _states(found["forbidden"])
        for name, state, part in (("batches", "failed", "one row a run"),
                                  ("wrong", "wrong", "answers differ"),
                                  ("broken", "failed", "model.pt2")):
            assert found[name]["plan"] != "package"
            assert _states(found[name])["package"] == state, found[name]
            (reason,) = [one["reason"] for one in found[name]["candidates"]
                         if one["plan"] == "package"]
            assert part in reason
        for name in found:
            _check(own, name, *ROWS)
        assert list(scratch.iterdir()) == []


def test_a_pinned_package_serves_or_says_why_not(made, tmp_path):
    repository = tmp_path / "models"
    _add(repository, made, "pinned", "any.pt2", plan="package")
    _add(repository, made, "none", None, plan="package")
    _add(repository, made, "other", "other.pt2", plan="package")
    _add(repository, made, "broken", "broken.pt2", plan="package")
    with harness.serving(tmp_path, repository) as own:
        listed = {name: one for (name, _), one in models(own).items()}
        assert reports(own)["pinned"]["plan"] == "package"
        _check(own, "pinned", *ROWS)
        for name, part in (("none", "plan is package, but there is no "),
                           ("other", "in the trial it was"),
                           ("broken", str(repository / "broken/1/model.pt2"))):
            assert listed[name]["state"] == "UNAVAILABLE"
            assert part in listed[name]["reason"], listed[name]


def test_should_the_package_fail_the_saved_model_answers(made, tmp_path):
    repository = tmp_path / "models"
    _add(repository, made, "short", "short.pt2", size=-1, plan="package")
    with harness.serving(tmp_path, repository) as own:
        _check(own, "short", *ROWS)
        assert reports(own)["short"]["fallbacks"] == 0
        _check(own, "short", [0.5] * 100)
        after = reports(own)["short"]
        assert (after["plan"], after["fallbacks"]) == ("saved", 1)
        assert "plan failed, model runs as saved model=short version=1 plan=package" in own.log()
        _check(own, "short", *ROWS)
        _, page = own.get("/metrics")
        assert 'torchd_plan_fallbacks_total{model="short",version="1"} 1' in page
        assert 'torchd_model_plan{model="short",version="1",plan="saved",threads="all"} 1' in page


def test_a_benchmark_may_compare_the_two(made, tmp_path):
    repository = tmp_path / "models"
    _add(repository, made, "any", "any.pt2", plan="frozen")
    with harness.serving(tmp_path, repository) as own:
        assert own.measured("any", plan="package").plan == "package"
        assert own.measured("any").plan == "frozen"
