"""Only executors have OpenMP teams, and together these have no more threads than there are cores
(docs/decisions/0003). A thread of a team is called as the thread that opened the team."""

import collections
import contextlib
import os
import pathlib
import threading

import numpy as np
import torch
import wire
import yaml

import harness

PLANS = ("saved", "frozen", "onednn", "channels_last", "graph")
PICTURE = (3, 64, 64)


def _add(repository: pathlib.Path) -> None:
    torch.manual_seed(3)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 32, 3), torch.nn.ReLU(), torch.nn.Conv2d(32, 32, 3), torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(32, 5)).eval()
    traced = torch.jit.trace(network, torch.rand(1, *PICTURE))
    inputs = [{"name": "x", "data_type": "float32", "shape": list(PICTURE)}]
    for plan in PLANS:
        (repository / plan / "1").mkdir(parents=True)
        traced.save(str(repository / plan / "1" / "model.pt"))
        (repository / plan / "model.yaml").write_text(yaml.safe_dump(
            {"inputs": inputs, "softmax": False, "plan": plan, "rows_per_batch_max": 4}))


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
