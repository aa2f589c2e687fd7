"""Figures of models that come and go. Each yields (name, value, unit, goal, passed).

They use the daemon as the end-to-end tests do, whose helpers they share. Every wait has a limit.
"""

import contextlib
import os
import pathlib
import random
import statistics
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "end_to_end"))

SEED = 20
LOADED_FLAGS = ("--threads-per-executor", 1, "--log-level", "warning")
CALL_SECONDS_MAX = 20


def modules():
    """Late: they generate stubs and import torch, which other figures need not wait for."""
    import grpc
    import harness
    import arrivals
    import mutants

    return grpc, harness, arrivals, mutants


@contextlib.contextmanager
def folder_for_a_run():
    with tempfile.TemporaryDirectory() as name:
        yield pathlib.Path(name)


# --- Callers at a rate. ---


class Load:
    """Threads that call one model at random times, `fraction` of what one executor can do, and
    note of each call when it began, how long it took and what came of it: a version or an error."""

    def __init__(self, daemon, model: str, marks: dict, run_seconds: float, fraction: float,
                 threads=6):
        self.calls: list = []  # (begin, seconds, version, error)
        self._daemon, self._model, self._marks = daemon, model, marks
        self._mean = threads * run_seconds / fraction
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(SEED + i,))
                         for i in range(threads)]

    def _run(self, seed: int) -> None:
        grpc, _, arrivals, _ = modules()
        chance = random.Random(seed)
        due = time.monotonic()
        while not self._stopping.is_set():
            due = max(due + chance.expovariate(1 / self._mean), time.monotonic() - self._mean)
            if self._stopping.wait(max(0.0, due - time.monotonic())):
                return
            values = [chance.randrange(100) for _ in range(arrivals.WIDTH)]
            begin = time.monotonic()
            version, error = 0, None
            try:
                version, numbers = arrivals.answer(self._daemon, self._model, values,
                                                    timeout=CALL_SECONDS_MAX)
                expected = arrivals.addend(self._marks[version]).numpy()
                if abs(numbers - expected).max() > 1e-3:
                    error = f"version {version} answered {numbers} beyond its input"
            except grpc.RpcError as failed:
                error = failed.code().name
            except (AssertionError, KeyError) as failed:
                error = repr(failed)
            self.calls.append((begin, time.monotonic() - begin, version, error))

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stopping.set()
        for thread in self._threads:
            thread.join(2 * CALL_SECONDS_MAX)


def seconds_of_a_call(daemon, model: str) -> float:
    _, _, arrivals, _ = modules()
    times = []
    for _ in range(60):
        begin = time.monotonic()
        arrivals.answer(daemon, model)
        times.append(time.monotonic() - begin)
    return statistics.median(times[10:])


def _p99(seconds: list) -> float:
    return sorted(seconds)[int(len(seconds) * 0.99)]


# --- Swaps under load. ---

WORK_ROUNDS = 20  # Of 256 x 256 matrices: some milliseconds.
SWAP_EVERY = 2.0
PHASES = 6  # Each: steady, then swaps.
STEADY_SECONDS, SWAP_SECONDS = 6.0, 10.0


def _swap_for(seconds: float, repository, daemon, swapped: int) -> int:
    """Version 2 comes, or goes and version 1 returns, every two seconds."""
    _, _, arrivals, _ = modules()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        due = time.monotonic() + SWAP_EVERY
        if swapped % 2 == 0:
            arrivals.add_version(repository, "model", 2, arrivals.archive(2, WORK_ROUNDS))
        else:
            arrivals.remove(repository / "model" / "2")
        swapped += 1
        time.sleep(max(0.0, due - time.monotonic()))
    return swapped


def _swap_figures(load, phases: list, alone: float, swapped: int) -> list:
    steady = [call for call in load.calls if any(a <= call[0] < b for a, b, _ in phases)]
    swapping = [call for call in load.calls if any(b <= call[0] < c for _, b, c in phases)]
    seen = [call[2] for call in sorted(swapping, key=lambda call: call[0])]
    changes = sum(one != other for one, other in zip(seen, seen[1:]))
    failed = [call[3] for call in load.calls if call[3]]
    p99, p99_swaps = (_p99([call[1] for call in calls]) for calls in (steady, swapping))
    print(f"#   {alone * 1e3:.1f} ms a call; {len(steady)} calls steady, {len(swapping)} in "
          f"{swapped} swaps with {changes} changes of version; p99 {p99 * 1e3:.1f} and "
          f"{p99_swaps * 1e3:.1f} ms; errors {sorted(set(failed))[:3]}")
    enough = changes >= swapped * 0.9  # Swaps that nobody noticed would prove nothing.
    ratio = p99_swaps / p99
    return [("swap_failed", len(failed), "calls", "==0", not failed and enough),
            ("swap_p99_ratio", ratio, "x", "<=1.5", ratio <= 1.5)]


def swaps():
    _, harness, arrivals, _ = modules()
    phases, swapped = [], 0
    with folder_for_a_run() as folder:
        repository = folder / "models"
        arrivals.add_version(repository, "model", 1, arrivals.archive(1, WORK_ROUNDS))
        with harness.serving(folder, repository, *arrivals.WATCH, *LOADED_FLAGS) as daemon:
            alone = seconds_of_a_call(daemon, "model")
            with Load(daemon, "model", {1: 1, 2: 2}, alone, 0.5) as load:
                time.sleep(2)
                for _ in range(PHASES):
                    begin = time.monotonic()
                    time.sleep(STEADY_SECONDS)
                    middle = time.monotonic()
                    swapped = _swap_for(SWAP_SECONDS, repository, daemon, swapped)
                    phases.append((begin, middle, time.monotonic()))
            # Before the daemon's end, which may be an error of its own.
            figures = _swap_figures(load, phases, alone, swapped)
    yield from figures


# --- Memory after many loads. ---

RELOADS = 200
RELOADS_BEFORE = 20


def resident_bytes(pid: int) -> int:
    pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def reload_rss_growth():
    _, harness, arrivals, _ = modules()
    import wire
    from small_models import _add
    import torch

    resident = []
    with folder_for_a_run() as folder:
        repository = folder / "models"
        # 16 MB of weights: a copy that stays would be seen at once.
        wide = torch.nn.Sequential(torch.nn.Linear(4, 2048), torch.nn.Linear(2048, 2048),
                                   torch.nn.Linear(2048, 4))
        _add(repository, "wide", {1: wide}, None, arrivals.INPUTS)
        with harness.serving(folder, repository, "--model-control", "explicit",
                             *LOADED_FLAGS) as daemon:
            for _ in range(RELOADS):
                daemon.admin.LoadModel(wire.admin.LoadModelRequest(model="wide"), timeout=60)
                daemon.classify("wide", wire.row([1, 2, 3, 4]))
                daemon.admin.UnloadModel(wire.admin.UnloadModelRequest(model="wide"), timeout=60)
                resident.append(resident_bytes(daemon.process.pid))
    before = statistics.median(resident[RELOADS_BEFORE - 5:RELOADS_BEFORE + 5])
    after = statistics.median(resident[-10:])
    growth = 100 * (after / before - 1)
    print("#   RSS in MiB every 20 cycles: " + ", ".join(f"{one / 2**20:.0f}" for one in resident[19::20]))
    yield "reload_rss_growth", growth, "%", "<=2", growth <= 2


# --- Requests right after ready. ---

FRESH_LOADS = 20
FIRST, LATER = slice(0, 5), slice(49, 60)  # Requests 1 to 5, and 50 to 60.


def _page_faults(pid: int) -> int:
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[7])


def first_requests():
    """What the model's run takes in the first 5 requests after a reload was answered, compared with
    requests 50 to 60 of the same version; medians over all loads. The page faults tell of memory
    that went back to the kernel with the old copy (reaper.cc) and is fetched again."""
    _, harness, _, _ = modules()
    import numpy
    import wire

    demo, name = ROOT / "build" / "demo-models", "efficientnet-lite0"
    row = wire.row(numpy.random.default_rng(SEED).random((3, 224, 224)))
    loads, faults = [], []

    def run_us(daemon) -> int:
        return daemon.classify(name, row).results[0].times.execute_us

    with folder_for_a_run() as folder, harness.serving(folder, demo, *LOADED_FLAGS) as daemon:
        for _ in range(FRESH_LOADS):
            daemon.admin.ReloadModel(wire.admin.ReloadModelRequest(model=name), timeout=60)
            before = _page_faults(daemon.process.pid)
            first = run_us(daemon)
            faults.append(_page_faults(daemon.process.pid) - before)
            loads.append([first] + [run_us(daemon) for _ in range(LATER.stop - 1)])

    def median(part: slice) -> float:
        return statistics.median(time for load in loads for time in load[part])

    print("#   execute_us of requests 1 to 5: "
          + ", ".join(f"{median(slice(i, i + 1)):.0f}" for i in range(FIRST.stop))
          + f"; of 50 to 60: {median(LATER):.0f}; page faults in the first: "
          f"{statistics.median(faults):.0f}")
    ratio = median(FIRST) / median(LATER)
    yield "first_requests", ratio, "x", "<=1.10", ratio <= 1.10


# --- Starts. ---


STARTS = 3


def _start_seconds(folder, repository, threads: int, ready: list) -> float:
    """Until all that can serve do; `ready` notes how many those are."""
    _, harness, arrivals, _ = modules()
    begin = time.monotonic()
    with harness.serving(folder, repository, "--load-threads", threads, *LOADED_FLAGS) as daemon:
        seconds = time.monotonic() - begin
        ready.append(daemon.status().versions_ready)
        for number in set(range(50)) - {25}:
            arrivals.serves(daemon, f"model{number}", 1, number)
    return seconds


def one_broken_of_50():
    _, _, arrivals, _ = modules()
    times, ready = {1: [], 2: []}, []
    with folder_for_a_run() as folder:
        repository = folder / "models"
        for number in range(50):
            data = b"broken" if number == 25 else arrivals.archive(number)
            arrivals.add_version(repository, f"model{number}", 1, data)
        for _ in range(STARTS):  # In turn, so that both see the same machine.
            for threads, seconds in times.items():
                seconds.append(_start_seconds(folder, repository, threads, ready))
    # The helper's start, 0.5 s, and warming up on the one executor have nothing to share.
    for threads, seconds in times.items():
        print(f"#   ready with load_threads {threads} after "
              + ", ".join(f"{one:.1f}" for one in seconds) + " s")
    yield "one_broken_of_50", min(ready), "models", "==49", set(ready) == {49}
    ratio = statistics.median(times[2]) / statistics.median(times[1])
    yield "ready_in_parallel", ratio, "x", "<1", ratio < 1


FIGURES = {
    "swaps": swaps,  # swap_failed and swap_p99_ratio: one run.
    "reload_rss_growth": reload_rss_growth,
    "first_requests": first_requests,
    "one_broken_of_50": one_broken_of_50,
}
