"""Figures of a CPU in bad company: another model loads, numbers are denormal, a neighbour takes cores.

One client calls resnet18 again and again; what it sees with and without the trouble is compared.
Both sides of a ratio take turns, in one run of the daemon; medians only. The client shares the
machine's cores with the daemon, on both sides.
"""

import contextlib
import functools
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import yaml
from in_turns import SKIPPED, medians
from lifecycle import modules

PLANS = ("saved", "frozen", "onednn", "channels_last", "graph", "direct")
STEADY, OTHER = "resnet18", "resnet50"
WARM_CALLS = 30
LOAD_SECONDS_MAX = 120


@contextlib.contextmanager
def _served(repository: pathlib.Path, *flags):
    _, harness, _, _ = modules()
    with tempfile.TemporaryDirectory() as folder:
        with harness.serving(pathlib.Path(folder), repository, "--log-level", "warning",
                             "--model-control", "explicit", *flags) as daemon:
            yield daemon


def _add(repository: pathlib.Path, model: str, name: str, **config) -> None:
    """A model of the ladder, under another name and with more configuration."""
    import ladder_figure
    import ladder_models
    ladder_models.make(ladder_figure.FOLDER, model)
    shutil.copytree(ladder_models.repository(ladder_figure.FOLDER, model) / model,
                    repository / name)
    file = repository / name / "model.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **config}))


def _load(daemon, name: str) -> None:
    import wire
    daemon.admin.LoadModel(wire.admin.LoadModelRequest(model=name), timeout=LOAD_SECONDS_MAX)


def _unload(daemon, name: str) -> None:
    import wire
    daemon.admin.UnloadModel(wire.admin.UnloadModelRequest(model=name), timeout=LOAD_SECONDS_MAX)


def _picture(values=None):
    import numpy
    import wire
    if values is not None:
        return wire.row(numpy.full((3, 224, 224), values, numpy.float32))
    return wire.row(numpy.random.default_rng(1).random((3, 224, 224), numpy.float32) - 0.5)


def _calls(daemon, model: str, item, count: int) -> list:
    """Milliseconds of each, as its caller sees them."""
    times = []
    for _ in range(count):
        begin = time.perf_counter()
        daemon.classify(model, item)
        times.append((time.perf_counter() - begin) * 1e3)
    return times


# --- Another model loads. ---


def _switches(daemon) -> int:
    """Voluntary ones so far, of the executor's thread and its team's, which have its name."""
    total = 0
    for task in pathlib.Path(f"/proc/{daemon.process.pid}/task").iterdir():
        with contextlib.suppress(OSError):  # Other threads may end meanwhile.
            if (task / "comm").read_text().startswith("exec-cpu-"):
                found = re.search(r"^voluntary_ctxt_switches:\s*(\d+)$",
                                  (task / "status").read_text(), re.MULTILINE)
                total += int(found[1])
    return total


class _Side:
    """Calls of one kind, and the context switches while they were made."""

    def __init__(self, daemon, item):
        self.times: list = []
        self._daemon, self._item, self._switched = daemon, item, 0

    def call_while(self, going_on) -> None:
        before = _switches(self._daemon)
        while going_on():
            self.times += _calls(self._daemon, "steady", self._item, 1)
        self._switched += _switches(self._daemon) - before

    def p50(self) -> float:
        return statistics.median(self.times)

    def switches(self) -> float:
        return self._switched / len(self.times)


def _beside_loads(daemon, loads: int) -> tuple:
    """What a client sees alone and while another model loads."""
    item = _picture()
    _load(daemon, "steady")
    _calls(daemon, "steady", item, WARM_CALLS)
    alone, beside = _Side(daemon, item), _Side(daemon, item)
    for _ in range(loads):
        until = len(alone.times) + WARM_CALLS
        alone.call_while(lambda: len(alone.times) < until)
        loading = threading.Thread(target=_load, args=(daemon, "other"))
        loading.start()
        beside.call_while(loading.is_alive)
        loading.join()
        _unload(daemon, "other")
    return alone, beside


def _load_figures(name: str, loads: int, *flags):
    with tempfile.TemporaryDirectory() as folder:
        repository = pathlib.Path(folder) / "models"
        _add(repository, STEADY, "steady", plan="graph")
        _add(repository, OTHER, "other")
        with _served(repository, *flags) as daemon:
            alone, beside = _beside_loads(daemon, loads)
    print(f"#   {STEADY} alone {alone.p50():.1f} ms in {len(alone.times)} calls, {beside.p50():.1f} "
          f"in {len(beside.times)} beside {loads} loads of {OTHER}")
    ratio, switches = beside.p50() / alone.p50(), max(alone.switches(), beside.switches())
    yield name, ratio, "x", "<=1.15", ratio <= 1.15
    yield f"{name}_switches", switches, "/request", "<=20", switches <= 20


def load_beside():
    """The other model is tried, loaded and warmed up, without a search for its plan."""
    yield from _load_figures("load_beside", 8, "--plan-seconds-max", 0)


def search_beside():
    """And with that search, as by default: every plan is tried on as many threads as an executor."""
    yield from _load_figures("search_beside", 3, "--plan-seconds-max", 20, "--plan-cache", "")


# --- Denormals. ---

DENORMAL_BLOCKS, DENORMAL_CALLS = 6, 12
NEAR_ZERO = {"denormal": 1e-40, "nearly denormal": 2.4e-38}  # Products of the latter are denormal.


def _run_ms(daemon, plan: str, item) -> list:
    """Of the runs alone, as the server measured them."""
    return [daemon.classify(plan, item).results[0].times.execute_us / 1e3
            for _ in range(DENORMAL_CALLS)]


def denormals():
    """Pictures of numbers near zero beside a normal one, by every plan of TorchScript."""
    worst = {}
    with tempfile.TemporaryDirectory() as folder:
        repository = pathlib.Path(folder) / "models"
        for plan in PLANS:
            _add(repository, STEADY, plan, plan=plan)
        with _served(repository) as daemon:
            items = {"normal": _picture(),
                     **{kind: _picture(value) for kind, value in NEAR_ZERO.items()}}
            for plan in PLANS:
                _load(daemon, plan)
                found = medians({kind: functools.partial(_run_ms, daemon, plan, item)
                                 for kind, item in items.items()}, DENORMAL_BLOCKS)
                worst[plan] = max(found[kind] for kind in NEAR_ZERO) / found["normal"]
    print("#   " + ", ".join(f"{plan} {ratio:.2f}" for plan, ratio in worst.items()))
    ratio = max(worst.values())
    yield "denormals", ratio, "x", "<=1.10", ratio <= 1.10


# --- A neighbour. ---

NEIGHBOUR_BLOCKS, NEIGHBOUR_CALLS = 8, 20


@contextlib.contextmanager
def _busy_loops(count: int):
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def neighbour():
    """Another process spins with a thread for every second core. In proportion means: as the work
    that the cores do beside it. Of `cores` it takes `taken`, so p50 may grow cores / (cores - taken)
    times: by 2 where it takes half of them."""
    cores = len(os.sched_getaffinity(0))
    taken = cores // 2
    if taken == 0:
        print("#   one core: there is no half to take")
        return
    goal = cores / (cores - taken)
    alone, beside = [], []
    with tempfile.TemporaryDirectory() as folder:
        repository = pathlib.Path(folder) / "models"
        _add(repository, STEADY, "steady", plan="graph")
        with _served(repository) as daemon:
            item = _picture()
            _load(daemon, "steady")
            _calls(daemon, "steady", item, WARM_CALLS)
            for _ in range(NEIGHBOUR_BLOCKS):
                alone += _calls(daemon, "steady", item, NEIGHBOUR_CALLS)[SKIPPED:]
                with _busy_loops(taken):
                    beside += _calls(daemon, "steady", item, NEIGHBOUR_CALLS)[SKIPPED:]
    ratio = statistics.median(beside) / statistics.median(alone)
    print(f"#   {statistics.median(alone):.1f} ms, {statistics.median(beside):.1f} with {taken} of "
          f"{cores} cores taken")
    yield "neighbour", ratio, "x", f"<={goal:.1f}", ratio <= goal


FIGURES = {
    "load_beside": load_beside,  # And load_beside_switches.
    "search_beside": search_beside,  # Likewise.
    "denormals": denormals,
    "neighbour": neighbour,
}
