"""With `plan: fast_start` a version serves at once; a better plan takes its place under traffic."""

import threading
import time

import numpy as np
import pytest
import torch
import yaml

import harness
import wire
from test_bad_models import models
from test_plan_package import ROWS, Chain, package
from test_plans import reports


class Long(torch.nn.Module):
    """A run of a second or so: nobody knows its plans soon."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.ones(1024)
        for _ in range(150_000):
            y = torch.cos(y)
        return x[:, :3] + 0 * y[0]


def _add(repository, name, module, **config) -> None:
    (repository / name / "1").mkdir(parents=True)
    torch.jit.script(module.eval()).save(str(repository / name / "1" / "model.pt"))
    inputs = [{"name": "x", "data_type": "float32", "shape": [8]}]
    (repository / name / "model.yaml").write_text(
        yaml.safe_dump({"inputs": inputs, "softmax": False, **config}))


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """Its package is the fastest by far."""
    repository = tmp_path_factory.mktemp("chain")
    _add(repository, "chain", Chain(), plan="fast_start")
    package(Chain().eval(), repository / "chain/1/model.pt2")
    return repository


class Traffic:
    """Callers that never pause, and what became of their calls."""

    def __init__(self, daemon, callers=3):
        self.wrong, self.slowest_s, self.answered = [], 0.0, 0
        self._daemon, self._stop, self._mutex = daemon, False, threading.Lock()
        self._threads = [threading.Thread(target=self._call) for _ in range(callers)]

    def _call(self) -> None:
        expected = Chain()(torch.tensor([ROWS[0]]))[0].numpy()
        while not self._stop:
            begin = time.monotonic()
            try:
                (result,) = self._daemon.classify("chain", wire.row(ROWS[0]), softmax=False).results
                error = float(np.abs(wire.probabilities(result) - expected).max())
                wrong = [error] if error > 1e-3 else []
            except Exception as failed:  # Whatever it is, there must be none.
                wrong = [failed]
            with self._mutex:
                self.answered += 1
                self.wrong += wrong
                self.slowest_s = max(self.slowest_s, time.monotonic() - begin)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop = True
        for thread in self._threads:
            thread.join()


def test_serves_at_once_then_by_the_fastest_without_a_failure(chain, tmp_path):
    # A team of two threads would wait for each other beside the callers, and the times would be
    # anybody's guess.
    flags = ("--plan-seconds-max", 60, "--plan-cache", tmp_path / "cache",
             "--threads-per-executor", 1)
    with harness.serving(tmp_path, chain, *flags) as own:
        first = reports(own)["chain"]
        assert (first["plan"], first["searching"], first["candidates"]) == ("frozen", True, [])
        shown = harness.run_torchctl("--address", own.grpc, "plan", "chain").stdout.decode()
        assert "the default serves while others are tried" in shown
        with Traffic(own) as traffic:
            harness.wait_until(lambda: not reports(own)["chain"]["searching"], "the search", 120)
            time.sleep(0.5)
        found = reports(own)["chain"]
        assert found["plan"] == "package", found
        assert {one["plan"] for one in found["candidates"]} >= {"frozen", "package", "graph"}
        assert traffic.wrong == [] and traffic.answered > 100
        assert traffic.slowest_s < 5, "a call waited for the exchange"
        listed = models(own)[("chain", 1)]
        assert (listed["state"], listed["reason"]) == ("READY", "")
        for line in ("model serves, other plans are tried", "plan chosen",
                     "model serves by the plan that was found"):
            assert line in own.log()
    with harness.serving(tmp_path, chain, *flags) as own:
        again = reports(own)["chain"]
        assert (again["plan"], again["searching"]) == ("package", False)
        assert again["why"].endswith("in an earlier search")


def test_an_unload_or_a_stop_ends_the_search(tmp_path):
    repository = tmp_path / "models"
    _add(repository, "long", Long())
    with harness.serving(tmp_path, repository, "--plan-seconds-max", 300, "--plan-cache", "",
                         "--plan-default", "fast_start", "--model-control", "explicit") as own:
        def control(*words):
            done = harness.run_torchctl("--address", own.grpc, *words)
            assert done.returncode == 0, done.stderr

        control("load", "long")
        assert reports(own)["long"]["searching"]
        begin = time.monotonic()
        control("unload", "long")
        harness.wait_until(lambda: "plan search dropped" in own.log(), "the end of the search")
        assert time.monotonic() - begin < 10
        control("load", "long")
        assert reports(own)["long"]["searching"]
        begin = time.monotonic()
        own.terminate()
        assert own.exit_code() == 0
        assert time.monotonic() - begin < 10
        assert "plan chosen" not in own.log() and "plan search failed" not in own.log()
