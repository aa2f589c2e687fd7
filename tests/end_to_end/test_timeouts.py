"""timeout_ms, of a request and of a model: the answer comes then, whatever the run does."""

import time

import grpc
import pytest

import harness
import small_models
from slow_daemon import SlowDaemon

RUN_S = 1.5
TIMEOUT_MS = 300
# Loose: the machine may be busy. Yet far from the end of the run.
ANSWER_LIMIT_S = 1.0


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    repository = tmp_path_factory.mktemp("timeouts")
    small_models.add_slow(repository, rows_per_batch_max=1)  # Items run one after the other.
    small_models.add_slow(repository, "hasty", timeout_ms=TIMEOUT_MS)
    folder = tmp_path_factory.mktemp("daemon")
    with harness.serving(folder, repository, "--warmup-runs", 1) as daemon:
        slow = SlowDaemon(daemon)
        # The warm-up's runs were so short that gRPC's own threads would do them, and could not answer
        # meanwhile. The server learns that they are not.
        for name in ("slow", "hasty"):
            for _ in range(40):
                daemon.classify(name, slow.item(0.01))
        yield slow


def late(call) -> grpc.RpcError:
    """The error of a call that must be answered at its timeout."""
    start = time.monotonic()
    with pytest.raises(grpc.RpcError) as caught:
        call()
    took = time.monotonic() - start
    assert TIMEOUT_MS / 1e3 * 0.9 <= took < ANSWER_LIMIT_S
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    return caught.value


def await_idle(slow) -> None:
    harness.wait_until(lambda: not slow.daemon.status().executors[0].rows_running, "the run's end")


def test_timeout_of_the_request_is_answered_while_the_run_goes_on(slow):
    error = late(lambda: slow.daemon.classify("slow", slow.item(RUN_S), timeout_ms=TIMEOUT_MS))
    assert f"{TIMEOUT_MS} ms" in error.details()
    assert slow.daemon.status().executors[0].rows_running == 1
    await_idle(slow)
    assert slow.ask(0.01).results[0].classes, "it serves on"


def test_timeout_of_the_model_is_answered_while_the_run_goes_on(slow):
    late(lambda: slow.daemon.classify("hasty", slow.item(RUN_S)))
    await_idle(slow)
    assert slow.daemon.classify("hasty", slow.item(0.01)).results[0].classes, "it serves on"


def test_items_that_were_ready_are_kept(slow):
    items = [slow.item(0.01), slow.item(RUN_S)]
    start = time.monotonic()
    answer = slow.daemon.classify("slow", *items, timeout_ms=TIMEOUT_MS)
    assert time.monotonic() - start < ANSWER_LIMIT_S
    ready, missed = answer.results
    assert ready.classes and not ready.error.code
    assert missed.error.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
    assert not missed.classes
    await_idle(slow)
    assert slow.ask(0.01).results[0].classes, "it serves on"
