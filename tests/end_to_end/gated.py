"""A model that runs until the test lets it go, and writes down which rows ran together and in which
order. While one executor is held so, what else comes has to wait: no test needs to guess how long.

Test and model share a file. TorchScript maps it like any tensor, so the daemon knows nothing of it.
"""

import contextlib
import functools
import pathlib
import shutil
import sys
import threading
import time

import grpc
import numpy as np
import torch
import yaml

import harness
import wire
from wire import ROOT

sys.path.insert(0, str(ROOT / "bench"))

import load_models  # noqa: E402

MARK = 1_000_000  # A row that begins with MARK + n is row n; any other leaves no trace.
BLOCKER = 9_999  # The row that holds the executor.
BAD = 666  # A row whose values add up to it fails, and its run with it.
# Where in the file is what; forward() has the numbers, for TorchScript sees no globals.
CLOSED, RUNS, ENTRIES, FIRST, CELLS = 0, 1, 2, 8, 1 << 16
FRESH = [f"fresh-{number}" for number in range(12)]
RUN_MS = 3  # Whatever the number of rows. Longer than it takes to wake an executor.
LONG_RUN_MS = 60

rounds_for = functools.cache(load_models.rounds_for)  # Takes a while.


class Gated(torch.nn.Module):
    """Costs the same for any number of rows. Answers the sum of a row's values, how many numbers it
    has, and the first of them."""

    def __init__(self, path: pathlib.Path, milliseconds: float):
        super().__init__()
        self.path, self.cells = str(path), CELLS
        self.first = FIRST
        self.mark, self.blocker, self.bad = float(MARK), float(MARK + BLOCKER), float(BAD)
        self.work = load_models.FixedCost(rounds_for(milliseconds))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, values = x[:, 0], x[:, 1:].sum(1)
        worked = self.work(torch.zeros(x.size(0), 4))  # Constants would be worked out once.
        scores = torch.stack([values, torch.full_like(first, x.size(1)), first], 1)
        scores = scores + 0.0 * worked.sum()
        if bool((first >= self.mark).any()):
            # The size depends on x, so that freezing cannot map the file once and for all.
            board = torch.from_file(self.path, True, self.cells + x.size(0) - first.size(0),
                                    dtype=torch.float32)
            run, at = int(board[1]), int(board[2])
            for row in range(x.size(0)):
                if self.first + 2 * at + 2 < self.cells:
                    board[self.first + 2 * at] = run
                    board[self.first + 2 * at + 1] = first[row] - self.mark
                    at += 1
            board[2] = at
            board[1] = run + 1
            if bool((first == self.blocker).any()):
                while bool(board[0] > 0):
                    worked = torch.tanh(worked)
            scores = scores + 0.0 * board[1]  # What has no use is optimised away.
        if bool((values == self.bad).any()):
            raise ValueError("a bad apple")
        return scores


def _archive(folder: pathlib.Path, name: str, milliseconds: float) -> pathlib.Path:
    torch.manual_seed(0)
    path = folder / f"{name}.pt"
    torch.jit.script(Gated(folder / "board", milliseconds).eval()).save(str(path))
    return path


def repository(folder: pathlib.Path, models: dict) -> pathlib.Path:
    """`models`: names and their configurations. Those called long-... run for LONG_RUN_MS; those
    called open-... take any number of numbers, all others four. By the plan `saved`: another that
    fails is run once more as saved, and the board would count both."""
    np.zeros(CELLS, np.float32).tofile(folder / "board")
    short, long = _archive(folder, "short", RUN_MS), _archive(folder, "long", LONG_RUN_MS)
    for name, config in models.items():
        version = folder / "models" / name / "1"
        version.mkdir(parents=True)
        shutil.copy(long if name.startswith("long-") else short, version / "model.pt")
        size = -1 if name.startswith("open-") else 4
        inputs = [{"name": "x", "data_type": "float32", "shape": [size]}]
        (version / "model.yaml").write_text(
            yaml.safe_dump({"inputs": inputs, "softmax": False, "plan": "saved", **config}))
    return folder / "models"


def row(number: int, *values: float):
    """Row `number`, with three values for the models that take four numbers."""
    return wire.row([MARK + number, *(values or (1, 2, 3))])


def expected(number: int, *values: float) -> list:
    """The scores of that row."""
    values = values or (1, 2, 3)
    return [sum(values), 1 + len(values), MARK + number]


def scores(call) -> list:
    """Of a call of one item that must succeed."""
    (result,) = call.result(harness.CALL_LIMIT_S).results
    return list(wire.probabilities(result))


def times(call) -> wire.inference.StageTimes:
    """Of a call of one item that must succeed."""
    (result,) = call.result(harness.CALL_LIMIT_S).results
    return result.times


class GatedDaemon:
    """A daemon with a repository of gated models, and what ran there."""

    def __init__(self, daemon: harness.Daemon, folder: pathlib.Path):
        self.daemon = daemon
        self._fresh = list(FRESH)
        self._board = np.memmap(folder / "board", np.float32, "r+", shape=(CELLS,))

    def forget(self) -> None:
        """Waits until nothing is left to run, then forgets what ran."""
        self._board[CLOSED] = 0
        self.wait_idle()
        self._board[:FIRST] = 0

    def wait_idle(self) -> None:
        def idle() -> bool:
            (executor,) = self.daemon.status().executors
            return executor.rows_waiting == 0 and executor.rows_running == 0

        harness.wait_until(idle, "the end of all runs")

    def send(self, model: str, *items, client="", timeout=None, stub=None, **options):
        """A call in flight; without a deadline unless it is given one."""
        metadata = [("torchd-client", client)] if client else []
        return (stub or self.daemon.inference).Classify.future(
            wire.request(model, *items, **options), timeout=timeout, metadata=metadata)

    @contextlib.contextmanager
    def other_connection(self):
        """A stub of its own. Python's channels share one connection unless told otherwise."""
        with grpc.insecure_channel(self.daemon.grpc,
                                   [("grpc.use_local_subchannel_pool", 1)]) as channel:
            yield wire.inference_grpc.InferenceServiceStub(channel)

    def waiting(self) -> int:
        return self.daemon.status().executors[0].rows_waiting

    def queue(self, model: str, *items, **options):
        """A call in flight whose rows have been seen waiting. Requires that nothing else comes."""
        before = self.waiting()
        call = self.send(model, *items, **options)
        harness.wait_until(lambda: call.done() or self.waiting() == before + len(items), "its rows")
        assert not call.done(), call.exception()
        return call

    @contextlib.contextmanager
    def held(self, model="gate", **options):
        """An executor runs a row of `model` until the end of the block, whose value is the call.
        With `options` its caller may give up before."""
        self.wait_idle()
        self._board[CLOSED] = 1
        begun = self._board[RUNS]
        blocker = self.send(model, row(BLOCKER), **options)
        try:
            harness.wait_until(lambda: self._board[RUNS] == begun + 1, "the run that blocks")
            yield blocker
            assert self.daemon.status().executors[0].rows_running, "the executor was not held"
        finally:
            self._board[CLOSED] = 0
        assert options or scores(blocker)

    def fresh_gate(self) -> str:
        """A model for held() that never was, so that its runs count as short and a request with a
        deadline is let in behind it."""
        return self._fresh.pop()

    def runs(self) -> list:
        """The numbers of the rows of each run, without the one that blocked, padding left out."""
        found = {}
        for at in range(int(self._board[ENTRIES])):
            run, number = self._board[FIRST + 2 * at:FIRST + 2 * at + 2]
            found.setdefault(int(run), []).append(int(number))
        return [list(dict.fromkeys(run)) for run in found.values() if run[0] != BLOCKER]

    def order(self) -> list:
        return [number for run in self.runs() for number in run]

    def count(self, name: str, **labels) -> float:
        """Of the metric's series with these labels, together."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        lines = [line for line in self.daemon.get("/metrics")[1].splitlines()
                 if line.startswith((name + "{", name + " "))]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines
                   if all(one in line for one in wanted))

    @contextlib.contextmanager
    def counted(self, expected: float, name: str, **labels):
        """The metric grows by `expected` in the block."""
        before = self.count(name, **labels)
        yield
        end = time.monotonic() + 5  # Some are counted just after the answer.
        while self.count(name, **labels) - before < expected and time.monotonic() < end:
            time.sleep(0.01)
        assert self.count(name, **labels) - before == expected, (name, labels)


class Stream:
    """A client that always has `width` calls in flight: each answer makes it send the next."""

    def __init__(self, daemon: GatedDaemon, width: int, model: str, **options):
        self.totals_us = []
        self._send = lambda: daemon.send(model, wire.row([1, 2, 3, 4]), **options)
        self._width, self._left, self._stop = width, width, False
        self._ended = threading.Event()
        self._mutex = threading.Lock()

    def __enter__(self):
        for _ in range(self._width):
            self._send().add_done_callback(self._answered)
        return self

    def __exit__(self, *_):
        self._stop = True
        assert self._ended.wait(harness.CALL_LIMIT_S), "calls without an answer"

    def _answered(self, call) -> None:
        if not self._stop and call.exception() is None:
            self.totals_us.append(times(call).total_us)
            self._send().add_done_callback(self._answered)
            return
        with self._mutex:
            self._left -= 1
            if self._left == 0:
                self._ended.set()


def error(call) -> grpc.RpcError:
    """Of a call that must fail."""
    found = call.exception(harness.CALL_LIMIT_S)
    assert found is not None, f"answered: {call.result()}"
    return found


def pushback_ms(failed: grpc.RpcError) -> int:
    """What the refusal says about another try."""
    (value,) = [value for key, value in failed.trailing_metadata()
                if key == "grpc-retry-pushback-ms"]
    return int(value)
