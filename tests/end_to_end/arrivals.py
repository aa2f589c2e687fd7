"""What the tests of models that come and go share: archives whose answers name their version,
repositories that change under the daemon, callers that go on meanwhile, and a look at processes."""

import contextlib
import functools
import io
import os
import pathlib
import shutil
import signal
import threading
import time

import grpc
import numpy as np
import torch
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

import harness
import wire
from small_models import Endless

WATCH = ("--model-control", "watch", "--settle-ms", 200, "--poll-ms", 500)
READY = wire.admin.VERSION_STATE_READY
UNAVAILABLE = wire.admin.VERSION_STATE_UNAVAILABLE
WIDTH = 4
INPUTS = [{"name": "x", "data_type": "float32", "shape": [WIDTH]}]
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Marked(torch.nn.Module):
    """Adds what only this mark adds. `rounds` is work that the answer does not show."""

    def __init__(self, mark: int, rounds: int = 0):
        super().__init__()
        self.rounds = rounds
        self.register_buffer("mark", addend(mark))
        self.register_buffer("weight", torch.eye(256 if rounds else 1) * 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.weight * x.sum()
        for _ in range(self.rounds):
            hidden = torch.tanh(torch.mm(self.weight, hidden))
        return x + self.mark + hidden.sum() * 0.0


class Greedy(torch.nn.Module):
    """Wants 64 GiB."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.ones(1 << 34).sum()


def addend(mark: int) -> torch.Tensor:
    return torch.tensor([mark, 10.0 * mark, 0, 1])


def saved(module: torch.nn.Module) -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(module.eval()), buffer)
    return buffer.getvalue()


@functools.cache
def archive(mark: int, rounds: int = 0) -> bytes:
    return saved(Marked(mark, rounds))


@functools.cache
def endless() -> bytes:
    return saved(Endless())


@functools.cache
def greedy() -> bytes:
    return saved(Greedy())


def add_version(repository: pathlib.Path, name: str, version: int, data: bytes) -> pathlib.Path:
    """As a careful owner does it: under a name that does not count, then renamed."""
    folder = repository / name
    if not (folder / "model.yaml").exists():
        folder.mkdir(parents=True, exist_ok=True)
        configure(repository, name)
    copy = folder / f".{version}"
    copy.mkdir()
    (copy / "model.pt").write_bytes(data)
    copy.rename(folder / str(version))
    return folder / str(version)


def configure(repository: pathlib.Path, name: str, **settings) -> None:
    path = repository / name / "model.yaml"
    copy = path.with_name(".model.yaml")
    copy.write_text(yaml.safe_dump({"inputs": INPUTS, **settings}))
    copy.rename(path)


def replace(path: pathlib.Path, data: bytes) -> None:
    copy = path.with_name("." + path.name)
    copy.write_bytes(data)
    copy.rename(path)


def remove(folder: pathlib.Path) -> None:
    gone = folder.with_name("." + folder.name)
    folder.rename(gone)
    shutil.rmtree(gone)


def versions(daemon, name: str) -> dict:
    """Number to ModelVersion; empty when nobody knows the model."""
    try:
        listed = daemon.admin.ListModels(wire.admin.ListModelsRequest(model=name), timeout=10)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND, error
        return {}
    return {one.version: one for one in listed.models}


def state(daemon, name: str, version: int):
    found = versions(daemon, name).get(version)
    return found.state if found else None


def wait_ready(daemon, name: str, version: int, limit_s=20.0):
    harness.wait_until(lambda: state(daemon, name, version) == READY,
                       f"{name} version {version} READY", limit_s)


def wait_reason(daemon, name: str, version: int, limit_s=20.0) -> str:
    def reason():
        found = versions(daemon, name).get(version)
        settled = found and found.state in (READY, UNAVAILABLE)
        return settled and "are being loaded" not in found.reason and found.reason
    return harness.wait_until(reason, f"a reason of {name} version {version}", limit_s)


def answer(daemon, name: str, values=(0, 0, 0, 0), **options):
    """The version that answered and its numbers without the caller's own: the mark's."""
    got = daemon.classify(name, wire.row(values), softmax=False, top_k=WIDTH, **options)
    return got.version, wire.probabilities(got.results[0]) - np.asarray(values, np.float64)


def serves(daemon, name: str, number: int, mark: int, **options) -> None:
    got, numbers = answer(daemon, name, **options)
    assert got == number
    np.testing.assert_allclose(numbers, addend(mark).numpy(), rtol=1e-5)


def health(daemon, service: str):
    """The status, or None for what is not known."""
    try:
        request = health_pb2.HealthCheckRequest(service=service)
        return health_pb2_grpc.HealthStub(daemon.channel).Check(request, timeout=10).status
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND, error
        return None


class Callers:
    """Threads that call one model without a pause, one row a call, and check every answer:
    version to mark says what it has to be."""

    def __init__(self, daemon, model: str, marks: dict, threads=3):
        self.errors: list = []
        self.answers: list = []  # Versions, in about the order of their answers.
        self._daemon, self._model, self._marks = daemon, model, marks
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(i,)) for i in range(threads)]

    def _run(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        while not self._stopping.is_set():
            try:
                values = random.integers(0, 100, WIDTH)
                version, numbers = answer(self._daemon, self._model, values, timeout=20)
                expected = addend(self._marks[version]).numpy()
                if not np.allclose(numbers, expected, atol=1e-3):
                    self.errors.append(f"version {version} answered {numbers}")
                self.answers.append(version)
            except (grpc.RpcError, AssertionError, KeyError) as error:
                self.errors.append(repr(error))
            time.sleep(0.001)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stopping.set()
        for thread in self._threads:
            thread.join(30)


@contextlib.contextmanager
def served_throughout(daemon, model: str, marks: dict):
    """No call fails meanwhile, and the daemon stays the same process."""
    with Callers(daemon, model, marks) as callers:
        harness.wait_until(lambda: callers.answers, "an answer")
        yield callers
        so_far = len(callers.answers)
        harness.wait_until(lambda: len(callers.answers) > so_far + 3, "answers to the end")
    assert not callers.errors, callers.errors[:3]
    assert daemon.process.poll() is None


def _stat(pid: int):
    """State, parent and start time; None: no such process."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0], int(fields[1]), fields[19]


def descendants(pid: int) -> dict:
    """Of all generations: pid to start time, which tells it from a later process of that pid."""
    everyone = {int(name): _stat(int(name)) for name in os.listdir("/proc") if name.isdigit()}
    everyone = {number: stat for number, stat in everyone.items() if stat}
    found, parents = {}, {pid}
    while parents:
        below = {number for number, stat in everyone.items() if stat[1] in parents}
        parents = below - set(found)
        found.update({number: everyone[number][2] for number in below})
    return found


def children(pid: int) -> dict:
    """Pid to state ("Z": a zombie)."""
    stats = {int(name): _stat(int(name)) for name in os.listdir("/proc") if name.isdigit()}
    return {number: stat[0] for number, stat in stats.items() if stat and stat[1] == pid}


def have_ended(processes: dict) -> bool:
    """An orphan's corpse is its adopter's to bury, not ours."""
    stats = [(_stat(pid), started) for pid, started in processes.items()]
    return all(stat is None or stat[2] != started or stat[0] == "Z" for stat, started in stats)


def helper(daemon) -> int:
    """The pid of torchd-trial."""
    found = list(children(daemon.process.pid))
    assert len(found) == 1, found
    return found[0]


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
