"""Figures of the scheduler: alone, busy, overloaded, and with bad requests among the good.

The load comes from load_generator, which shares the machine's cores with the daemon; what it takes
of them is printed. Both sides of a ratio run in turn, in one run.
"""

import concurrent.futures
import contextlib
import pathlib
import statistics
import tempfile
import threading
import time

import load
from lifecycle import modules, resident_bytes

ROUNDS = 5
DEADLINE_MS = 200


@contextlib.contextmanager
def served(repository: pathlib.Path, *flags):
    _, harness, _, _ = modules()
    with tempfile.TemporaryDirectory() as folder:
        with harness.serving(pathlib.Path(folder), repository, "--threads-per-executor", 1,
                             "--log-level", "warning", *flags) as daemon:
            yield daemon


def _ratio(pairs: list) -> float:
    return statistics.median(one / other for one, other in pairs)


# --- Alone. ---


def tiny_p50():
    """One client, a model of next to no work, call by call with a bare echo that answers as much."""
    import load_models
    from programs import echo_server

    with tempfile.TemporaryDirectory() as folder:
        repository = pathlib.Path(folder)
        load_models.add_tiny(repository)
        pairs = []
        with served(repository) as daemon, echo_server() as echo:
            for _ in range(ROUNDS):
                found = load.run(daemon.grpc, ["tiny"], concurrency=1, seconds=4, echo=echo)
                models = found["phases"][0]["models"]
                pairs.append((models["tiny"]["ok_ms"]["p50"], models["echo"]["ok_ms"]["p50"]))
    print("#   p50 in ms, tiny and echo: " + ", ".join(f"{a:.3f} {b:.3f}" for a, b in pairs))
    ratio = _ratio(pairs)
    yield "tiny_p50_ratio", ratio, "x", "<=1.25", ratio <= 1.25


# --- Busy. ---


def _rows_per_second(model, row, rows: int, seconds: float) -> float:
    """Of the best loop there can be: nothing but the model, in this process."""
    import torch

    batch = row.repeat(rows, *[1] * (row.dim() - 1))
    end = time.monotonic() + seconds
    runs, begin = 0, time.monotonic()
    with torch.inference_mode():
        while time.monotonic() < end:
            model(batch)
            runs += 1
    return rows * runs / (time.monotonic() - begin)


def _frozen(repository: pathlib.Path, name: str):
    import torch

    torch.set_num_threads(1)
    model = torch.jit.load(str(repository / name / "1" / "model.pt")).eval()
    return torch.jit.freeze(model)


def _busy(name, daemon, model, row, rows: tuple, clients: int) -> list:
    """Pairs of what is served and what the best of loops gives, in turn."""
    for count in rows:
        _rows_per_second(model, row, count, 0.5)  # The first runs compile.
    pairs = []
    for _ in range(ROUNDS):
        found = load.run(daemon.grpc, [name], concurrency=clients, seconds=4)
        best = max(_rows_per_second(model, row, count, 2) for count in rows)
        pairs.append((found["phases"][0]["goodput_per_second"], best))
        generator = found["generator"]
    print(f"#   {name}, served and in a loop of its own: "
          + ", ".join(f"{a:.0f} {b:.0f}" for a, b in pairs)
          + f" rows/s; the generator took {generator['cpu_us_per_call']:.0f} us a call")
    return pairs


def batch_throughput():
    """32 clients of a model that costs the same for 32 rows as for one; and one client of it.

    Between two runs 32 answers and 32 calls pass through the machine's cores, which takes about 2 ms
    on two of them: a run has to be long beside that, as an encoder's of 32 texts is.
    """
    import load_models
    import torch

    with tempfile.TemporaryDirectory() as folder:
        repository = pathlib.Path(folder)
        load_models.add_fixed_cost(repository, milliseconds=50, rows_per_batch_max=32)
        model, row = _frozen(repository, "fixed"), torch.ones(1, load_models.WIDTH)
        with served(repository) as daemon:
            pairs = _busy("fixed", daemon, model, row, (32,), 32)
            import wire
            waits = [daemon.classify("fixed", wire.row([1, 2, 3, 4])).results[0].times.queue_us
                     for _ in range(50)]
    ratio = _ratio(pairs)
    yield "batch_throughput", ratio, "x", ">=0.9", ratio >= 0.9
    wait = statistics.median(waits) / 1e3
    yield "lone_wait", wait, "ms", "<=0.2", wait <= 0.2


def resnet18_throughput():
    """16 clients of resnet18; the best loop chooses its number of rows as well."""
    import torch
    import torchvision

    with tempfile.TemporaryDirectory() as folder:
        repository = pathlib.Path(folder)
        (repository / "resnet18" / "1").mkdir(parents=True)
        torch.manual_seed(0)
        row = torch.ones(1, 3, 224, 224)
        traced = torch.jit.trace(torchvision.models.resnet18().eval(), row)
        traced.save(str(repository / "resnet18" / "1" / "model.pt"))
        model = _frozen(repository, "resnet18")
        with served(repository) as daemon:
            pairs = _busy("resnet18", daemon, model, row, (1, 4, 8), 16)
    ratio = _ratio(pairs)
    yield "resnet18_throughput", ratio, "x", ">=0.97", ratio >= 0.97


# --- Overloaded. ---


def _settled_seconds(series: dict, begin: float) -> float:
    """From `begin` until nearly all that is planned in half a second is answered in time."""
    step = series["step_seconds"]
    first, width = int(begin / step), int(0.5 / step)
    for at in range(first, len(series["planned"]) - width):
        planned = sum(series["planned"][at:at + width])
        good = sum(series["good_by_planned"][at:at + width])
        if planned > 0 and good >= 0.95 * planned:
            return at * step - begin
    return float("inf")


@contextlib.contextmanager
def _peak_resident(pid: int):
    """A list whose only number is the most resident bytes seen so far."""
    peak, over = [resident_bytes(pid)], threading.Event()

    def watch():
        while not over.wait(0.05):
            peak[0] = max(peak[0], resident_bytes(pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        over.set()
        watcher.join()


def _missed_percent(codes: dict) -> float:
    """Of those that were not refused at once."""
    missed = codes.get("DEADLINE_EXCEEDED", 0)
    return 100 * missed / max(1, missed + codes.get("OK", 0))


def overload():
    import load_models
    with tempfile.TemporaryDirectory() as folder:
        repository = pathlib.Path(folder)
        load_models.add_cost_per_row(repository, milliseconds=10)
        with served(repository) as daemon:
            load.run(daemon.grpc, ["per-row"], concurrency=4, seconds=2)
            closed = load.run(daemon.grpc, ["per-row"], concurrency=4, seconds=8)
            peak = closed["phases"][0]["goodput_per_second"]
            before = resident_bytes(daemon.process.pid)
            with _peak_resident(daemon.process.pid) as most:
                found = load.run(daemon.grpc, ["per-row"],
                                 phases=[(3 * peak, 60), (peak / 2, 5), (10 * peak, 20),
                                         (peak / 2, 5)], deadline_ms=DEADLINE_MS)
            again = load.run(daemon.grpc, ["per-row"], concurrency=4, seconds=8)
    peak = statistics.mean([peak, again["phases"][0]["goodput_per_second"]])
    three, ten = found["phases"][0], found["phases"][2]
    calm = max(_settled_seconds(found["series"], begin) for begin in (60, 85))
    print(f"#   peak {peak:.0f}/s; at 3x good {three['goodput_per_second']:.0f}/s, {three['codes']}; "
          f"at 10x good {ten['goodput_per_second']:.0f}/s, {ten['codes']}; generator "
          f"{found['generator']['cpu_us_per_call']:.0f} us a call")
    kept_up = int(found["generator"]["kept_up"])
    ratio = three["goodput_per_second"] / peak
    yield "overload3_goodput", ratio, "x", ">=0.95", ratio >= 0.95
    accepted = three["ok_ms"]["p99"]
    yield "overload3_p99", accepted, "ms", f"<={DEADLINE_MS}", accepted <= DEADLINE_MS
    missed = _missed_percent(three["codes"])
    yield "overload3_missed", missed, "%", "<=1", missed <= 1
    refused = three["refused_ms"]["p99"] or 0
    yield "overload3_refusal_p99", refused, "ms", "<=20", 0 < refused <= 20
    ratio = ten["goodput_per_second"] / peak
    yield "overload10_goodput", ratio, "x", ">=0.8", ratio >= 0.8
    yield "overload_kept_up", kept_up, "", "==1", kept_up == 1
    growth = 100 * (most[0] / before - 1)
    yield "overload_memory", growth, "%", "<=10", growth <= 10
    yield "overload_recovery", calm, "s", "<=2", calm <= 2


# --- Bad requests among the good. ---

POISONED_CALLS = 10_000


def _poisoned_model(repository: pathlib.Path):
    """Fails as a whole when one row is bad, as a model would that looks something up by its input."""
    import torch

    class Picky(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert bool((x < 1000).all()), "a row is out of range"
            work = torch.ones(64, 64) * 0.01
            for _ in range(40):
                work = torch.tanh(torch.mm(work, work))
            return self.layer(x) + 0.0 * work[0, 0]

    torch.manual_seed(0)
    model = Picky().eval()
    (repository / "picky" / "1").mkdir(parents=True)
    torch.jit.script(model).save(str(repository / "picky" / "1" / "model.pt"))
    (repository / "picky" / "model.yaml").write_text(
        "rows_per_batch_max: 8\nsoftmax: false\n"
        "inputs: [{name: x, data_type: float32, shape: [4]}]\n")
    return model


def poison():
    grpc, _, _, _ = modules()
    import torch
    import wire

    with tempfile.TemporaryDirectory() as folder:
        repository = pathlib.Path(folder)
        model = _poisoned_model(repository)
        with served(repository) as daemon:
            def call(number: int) -> str:
                values = [float(number % 97), 1.0, float(number % 7), 2.0]
                bad = number % 8 == 5
                if bad:
                    values[2] = 5000.0
                try:
                    result = daemon.classify("picky", wire.row(values), top_k=3).results[0]
                except grpc.RpcError as error:
                    return "bad refused" if bad else f"good failed: {error.code().name}"
                if bad:
                    return "bad answered"
                with torch.inference_mode():
                    alone = model(torch.tensor([values]))[0]
                same = all(abs(one.probability - float(alone[one.index])) <= 1e-4 * 97
                           for one in result.classes)
                return "good right" if same else "good wrong"

            with concurrent.futures.ThreadPoolExecutor(16) as pool:
                ends = list(pool.map(call, range(POISONED_CALLS)))
    counts = {end: ends.count(end) for end in sorted(set(ends))}
    print(f"#   {counts}")
    wrong = sum(count for end, count in counts.items() if end not in ("good right", "bad refused"))
    yield "poison_wrong", wrong, "calls", "==0", wrong == 0


FIGURES = {
    "tiny_p50": tiny_p50,
    "batch_throughput": batch_throughput,
    "resnet18_throughput": resnet18_throughput,
    "overload": overload,
    "poison": poison,
}
