"""The Benchmark call: what it answers and refuses, how it ends, and that clients come first."""

import statistics
import time

import grpc
import numpy as np
import pytest
import torch

import gated
import harness
import wire
from gated import expected, row, scores, times

Code = grpc.StatusCode
Phase = wire.benchmark.BenchmarkProgress


def refused(daemon, model, **options) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as failed:
        daemon.measured(model, **options)
    return failed.value


def begun(call):
    """Until its runs count."""
    for update in call:
        if update.progress.phase == Phase.PHASE_MEASURING:
            return
    raise AssertionError("it ended before")


def measured_soon(daemon, model, **options):
    """The result, once the place of a benchmark that ends is free."""
    def attempt():
        try:
            return daemon.measured(model, **options)
        except grpc.RpcError as error:
            assert error.code() == Code.RESOURCE_EXHAUSTED, error
            return None

    return harness.wait_until(attempt, "the other's end", 5)


def test_result_says_what_ran_and_what_it_took(served):
    result = served.daemon.measured("one", warm_up=3, repeats=20)
    assert (result.model, result.version, result.plan) == ("one", 1, "saved")
    (taken,) = result.inputs
    assert (taken.name, taken.data_type, list(taken.shape)) == ("x", "float32", [4])
    assert (result.batch_size, result.concurrency, result.warm_up) == (1, 1, 3)
    assert result.times.runs == 20 and len(result.curve_us) == 23
    assert sum(one.runs for one in result.bins) == 20
    # The raw times are known: all of them are in the curve.
    raw = sorted(result.curve_us[3:])
    assert result.times.min_us == raw[0] and result.times.max_us == raw[-1]
    for name, rank in (("p50_us", 10), ("p90_us", 18), ("p95_us", 19), ("p99_us", 20)):
        assert getattr(result.times, name) == raw[rank - 1]
    assert result.times.mean_us == pytest.approx(np.mean(raw), abs=0.01)
    assert result.times.stddev_us == pytest.approx(np.std(raw, ddof=1), abs=0.01)
    assert (result.times.median_low_us, result.times.median_high_us) == (raw[5], raw[14])
    assert result.times.median_confidence == pytest.approx(0.9586, abs=1e-3)
    assert result.rows_per_second == pytest.approx(1e6 / result.times.mean_us, rel=1e-3)
    assert result.times.p50_us >= 1000 * gated.RUN_MS / 3


def test_progress_comes_before_the_result(served):
    updates = list(served.daemon.benchmark("one", warm_up=50, duration_ms=700))
    *progress, last = [one.WhichOneof("update") for one in updates]
    assert last == "result" and set(progress) == {"progress"}
    shares = [one.progress.share for one in updates[:-1]]
    assert len(shares) >= 4 and shares == sorted(shares) and shares[-1] > 0.3
    assert updates[0].progress.phase == Phase.PHASE_LOADING
    assert updates[-1].result.elapsed_ms >= 700


def test_batches_and_lengths(served):
    result = served.daemon.measured("open-eight", batch_size=8, length=5, warm_up=0, repeats=3)
    assert list(result.inputs[0].shape) == [5] and result.batch_size == 8
    assert result.rows_per_second == pytest.approx(8e6 / result.times.mean_us, rel=1e-3)
    shapes = [wire.benchmark.InputShape(name="x", shape=[7])]
    result = served.daemon.measured("open-eight", shapes=shapes, repeats=1)
    assert list(result.inputs[0].shape) == [7]


@pytest.mark.parametrize(("options", "code", "part"), [
    ({"model": "nobody"}, Code.NOT_FOUND, "no model 'nobody'"),
    ({"version": 9}, Code.NOT_FOUND, "9"),
    ({"version": 1, "version_label": "stable"}, Code.INVALID_ARGUMENT, ""),
    ({"batch_size": 0}, Code.INVALID_ARGUMENT, "batch_size: got 0, expected 1 to 1024"),
    ({"batch_size": 1025}, Code.INVALID_ARGUMENT, "batch_size: got 1025, expected 1 to 1024"),
    ({"warm_up": 10_001}, Code.INVALID_ARGUMENT, "warm_up: got 10001, expected 0 to 10000"),
    ({"repeats": 0}, Code.INVALID_ARGUMENT, "repeats: got 0, expected 1 to 1000000"),
    ({"repeats": 1_000_001}, Code.INVALID_ARGUMENT, "expected 1 to 1000000"),
    ({"duration_ms": 0}, Code.INVALID_ARGUMENT, "duration_ms: got 0, expected 1 to 600000"),
    ({"duration_ms": 1 << 62}, Code.INVALID_ARGUMENT, "expected 1 to 600000 (10 minutes)"),
    ({"concurrency": 2}, Code.INVALID_ARGUMENT, "concurrency: got 2, expected 1 to 1"),
    ({"length": 5}, Code.INVALID_ARGUMENT, "leaves no size open: x float32[4]"),
    ({"model": "open-eight", "length": 0}, Code.INVALID_ARGUMENT, "a size of 0"),
    ({"model": "open-eight", "length": 1 << 30}, Code.INVALID_ARGUMENT, "268435456 bytes"),
    ({"shapes": [wire.benchmark.InputShape(shape=[5])]}, Code.INVALID_ARGUMENT,
     "got shape [5], the model takes [4]"),
    ({"shapes": [wire.benchmark.InputShape(name="y", shape=[4])]}, Code.INVALID_ARGUMENT,
     "has no input 'y'"),
    ({"shapes": [wire.benchmark.InputShape(shape=[1] * 9)]}, Code.INVALID_ARGUMENT, "at most 8"),
    ({"plan": "fast"}, Code.INVALID_ARGUMENT, "plan: got 'fast', expected saved, frozen"),
    ({"plan": "package"}, Code.INVALID_ARGUMENT, "is TorchScript"),
], ids=str)
def test_refusals_name_the_value_and_the_limit(served, options, code, part):
    failed = refused(served.daemon, **{"model": "one", **options})
    assert failed.code() == code and part in failed.details(), failed


def test_one_at_a_time_and_cancelled_while_it_waits(served):
    def ended():
        return served.daemon.log().count("benchmark ended")

    before = ended()
    with served.held():
        waiting = served.daemon.benchmark("one")
        next(waiting)
        failed = refused(served.daemon, "eight")
        assert failed.code() == Code.RESOURCE_EXHAUSTED, failed
        assert "a benchmark of model 'one' is running; at most 1 at a time" in failed.details()
        waiting.cancel()
        # It has given its place back though no executor was ever free.
        harness.wait_until(lambda: ended() > before, "its end")
    assert measured_soon(served.daemon, "eight", repeats=2).times.runs == 2


def test_cancelling_ends_it_within_a_run(served):
    call = served.daemon.benchmark("long-one", duration_ms=600_000, timeout=None)
    begun(call)
    call.cancel()
    begin = time.monotonic()
    measured_soon(served.daemon, "one", warm_up=0, repeats=1)
    assert time.monotonic() - begin < 2


def test_a_deadline_ends_it(served):
    failed = refused(served.daemon, "one", duration_ms=600_000, timeout=0.5)
    assert failed.code() == Code.DEADLINE_EXCEEDED
    assert measured_soon(served.daemon, "one", repeats=1).times.runs == 1


def test_rows_wait_for_one_run_at_most(served):
    """Also those of a client that sends the next only when it has its answer."""
    call = served.daemon.benchmark("long-one", duration_ms=600_000, timeout=None)
    begun(call)
    waits = []
    for number in range(20):
        sent = served.send("one", row(number))
        assert scores(sent) == expected(number)
        waits.append(times(sent).queue_us / 1000)
    call.cancel()
    assert statistics.median(waits) <= 1.5 * gated.LONG_RUN_MS, waits
    measured_soon(served.daemon, "one", repeats=1)


def test_rows_have_the_larger_share(served):
    """While calls keep coming, as many rows run as before, less a fifth; the benchmark still gets on,
    and says how often it gave way."""
    with gated.Stream(served, 4, "one"):
        result = served.daemon.measured("one", warm_up=0, duration_ms=1500, timeout=None)
    assert result.times.runs >= 10
    assert result.rows_went_first >= 2 * result.times.runs, result
    alone = served.daemon.measured("one", repeats=10)
    assert alone.rows_went_first == 0


def test_runs_side_by_side(tmp_path, linear_repository):
    flags = ("--cpu-executors", 2, "--threads-per-executor", 1, "--benchmarks-max", 2)
    with harness.serving(tmp_path, linear_repository, *flags) as daemon:
        result = daemon.measured("linear", concurrency=2, repeats=500)
        assert result.concurrency == 2 and result.times.runs == 500
        assert result.rows_per_second == pytest.approx(2e6 / result.times.mean_us, rel=1e-3)
        assert "expected 1 to 2" in refused(daemon, "linear", concurrency=3).details()
        calls = [daemon.benchmark("linear", duration_ms=300) for _ in range(2)]
        for call in calls:
            assert list(call)[-1].result.times.runs > 0


def test_a_server_may_run_none(tmp_path, linear_repository):
    with harness.serving(tmp_path, linear_repository, "--benchmarks-max", 0) as daemon:
        failed = refused(daemon, "linear")
        assert failed.code() == Code.FAILED_PRECONDITION and "benchmarks_max" in failed.details()


def test_draining_ends_it_with_unavailable(tmp_path, linear_repository):
    with harness.serving(tmp_path, linear_repository) as daemon:
        call = daemon.benchmark("linear", duration_ms=600_000, timeout=None)
        begun(call)
        daemon.terminate()
        with pytest.raises(grpc.RpcError) as failed:
            list(call)
        assert failed.value.code() == Code.UNAVAILABLE, failed.value
        assert "shutting down" in failed.value.details()
        assert daemon.exit_code(10) == 0


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A network of convolutions, twice."""
    made = tmp_path_factory.mktemp("pictures")
    torch.manual_seed(3)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(),
                                  torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
                                  torch.nn.Linear(8, 5)).eval()
    for name, config in (("net", ""), ("strict", "plans_forbidden: [graph]\n")):
        (made / name / "1").mkdir(parents=True)
        torch.jit.trace(network, torch.rand(1, 3, 64, 64)).save(str(made / name / "1/model.pt"))
        (made / name / "model.yaml").write_text(
            config + "inputs: [{name: x, data_type: float32, shape: [3, 64, 64]}]\n")
    return made


def test_another_plan_is_tried_loaded_and_dropped(tmp_path, pictures, linear_repository):
    with harness.serving(tmp_path, pictures) as daemon:
        assert daemon.measured("net", repeats=3).plan == "frozen"
        for plan in ("onednn", "channels_last", "graph", "direct", "saved"):
            call = list(daemon.benchmark("net", repeats=3, plan=plan))
            assert call[-1].result.plan == plan
        assert daemon.measured("net", repeats=3).plan == "frozen"
        failed = refused(daemon, "strict", plan="graph")
        assert failed.code() == Code.FAILED_PRECONDITION and "forbidden" in failed.details()
    with harness.serving(tmp_path, linear_repository) as daemon:
        failed = refused(daemon, "linear", plan="channels_last")
        assert failed.code() == Code.FAILED_PRECONDITION, failed
        assert "plan 'channels_last': its trial says 'failed': the model takes no pictures" \
            in failed.details()


def test_a_batch_that_would_take_too_much_memory_is_refused(tmp_path, pictures):
    """A result of 128 KiB a row and a copy of the input of 48, at least: 176 MiB for 1024 rows."""
    with harness.serving(tmp_path, pictures, "--memory-mb-max", 140, "--rows-per-batch-max", 8) as daemon:
        assert daemon.measured("net", repeats=1, warm_up=0, batch_size=16).batch_size == 16
        failed = refused(daemon, "net", repeats=1, warm_up=0, batch_size=1024)
        assert failed.code() == Code.RESOURCE_EXHAUSTED, failed
        for part in ("batch_size: got 1024 rows of x float32[3,64,64]", "(memory_mb_max)"):
            assert part in failed.details(), failed
    with harness.serving(tmp_path, pictures) as daemon:
        assert daemon.measured("net", repeats=1, warm_up=0, batch_size=1024).batch_size == 1024


def test_another_plan_of_files_that_have_changed_has_no_result(tmp_path, pictures):
    repository = tmp_path / "models"
    (repository / "net/1").mkdir(parents=True)
    for name in ("1/model.pt", "model.yaml"):
        (repository / "net" / name).write_bytes((pictures / "net" / name).read_bytes())
    with harness.serving(tmp_path, repository) as daemon:
        torch.manual_seed(4)
        other = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
                                    torch.nn.Linear(3, 5)).eval()
        torch.jit.trace(other, torch.rand(1, 3, 64, 64)).save(str(repository / "net/1/new"))
        (repository / "net/1/new").rename(repository / "net/1/model.pt")
        failed = refused(daemon, "net", plan="saved")
        assert failed.code() == Code.FAILED_PRECONDITION, failed
        assert "its files have changed" in failed.details()
