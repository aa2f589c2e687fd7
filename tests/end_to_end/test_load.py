"""When a model takes long: deadlines, a full queue, the end of the process."""

import concurrent.futures
import signal
import subprocess
import time

import grpc
import pytest

import harness
import small_models
import wire
from slow_daemon import SlowDaemon


@pytest.fixture
def pool():
    with concurrent.futures.ThreadPoolExecutor(16) as made:
        yield made


@pytest.fixture
def slow(tmp_path, slow_repository):
    with harness.serving(tmp_path, slow_repository, "--warmup-runs", 1) as daemon:
        yield SlowDaemon(daemon)


def outcome(call) -> grpc.StatusCode:
    try:
        call.result(harness.CALL_LIMIT_S)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def test_deadline_ends_the_wait(slow):
    start = time.monotonic()
    with pytest.raises(grpc.RpcError) as caught:
        slow.ask(2.0, timeout=0.3)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - start < 1.8, "not before the model was done"


def test_request_that_expired_in_the_queue_is_never_run(slow, pool):
    before = slow.rows_run()
    long = pool.submit(slow.ask, 1.5)
    time.sleep(0.2)  # The executor has it now; the next one must wait.
    expired = [pool.submit(slow.ask, 0.01, 0.3) for _ in range(3)]
    assert {outcome(call) for call in expired} == {grpc.StatusCode.DEADLINE_EXCEEDED}
    assert outcome(long) == grpc.StatusCode.OK
    slow.ask(0.01)
    assert slow.rows_run() - before == 2


def test_cancelled_request_is_never_run(slow, pool):
    before = slow.rows_run()
    long = pool.submit(slow.ask, 1.0)
    time.sleep(0.2)
    call = slow.daemon.inference.Classify.future(
        wire.request("slow", slow.item(0.01)), timeout=harness.CALL_LIMIT_S)
    harness.wait_until(lambda: slow.waiting() == 1, "one row that waits")
    call.cancel()
    assert outcome(long) == grpc.StatusCode.OK
    slow.ask(0.01)
    assert slow.rows_run() - before == 2


def test_full_queue_refuses_at_once(tmp_path, slow_repository, pool):
    with harness.serving(tmp_path, slow_repository, "--rows-waiting-max", 1) as daemon:
        slow = SlowDaemon(daemon)
        calls = [pool.submit(slow.ask, 1.0) for _ in range(8)]
        first = next(concurrent.futures.as_completed(calls))
        # It came before the first answer: a refusal does not wait for the model.
        assert outcome(first) == grpc.StatusCode.RESOURCE_EXHAUSTED
        codes = [outcome(call) for call in calls]
        assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert codes.count(grpc.StatusCode.OK) == 2, "one ran, one waited"
        assert slow.ask(0.01).results[0].classes, "it serves on"


def test_refusal_for_a_full_queue_says_so(tmp_path, slow_repository, pool):
    with harness.serving(tmp_path, slow_repository, "--rows-waiting-max", 1) as daemon:
        slow = SlowDaemon(daemon)
        calls = [pool.submit(slow.ask, 1.0)]
        time.sleep(0.2)
        calls.append(pool.submit(slow.ask, 0.01))
        harness.wait_until(lambda: slow.waiting() == 1, "one row that waits")
        error = daemon.refusal("slow", slow.item(0.01))
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "1" in error.details() and "wait" in error.details()
        assert {outcome(call) for call in calls} == {grpc.StatusCode.OK}


def test_sigterm_answers_what_was_accepted(slow, pool):
    calls = [pool.submit(slow.ask, 0.5) for _ in range(3)]
    harness.wait_until(lambda: slow.waiting() == 2, "two rows that wait")
    slow.daemon.terminate()
    assert {outcome(call) for call in calls} == {grpc.StatusCode.OK}
    assert slow.daemon.exit_code(20) == 0


def test_draining_refuses_new_calls(slow, pool):
    running = pool.submit(slow.ask, 1.5)
    time.sleep(0.2)
    slow.daemon.terminate()
    time.sleep(0.3)
    late = pool.submit(slow.ask, 0.01)
    assert outcome(late) == grpc.StatusCode.UNAVAILABLE
    assert outcome(running) == grpc.StatusCode.OK


def test_drain_has_a_limit(tmp_path, slow_repository, pool):
    """What is left after drain_limit_ms is abandoned: callers hear it, the process ends with 0."""
    limit = ("--drain-limit-ms", 200)
    with harness.serving(tmp_path, slow_repository, *limit) as daemon:
        slow = SlowDaemon(daemon)
        calls = [pool.submit(slow.ask, 2.0) for _ in range(6)]
        harness.wait_until(lambda: slow.waiting() == 5, "five rows that wait")
        daemon.terminate()
        # The run that has begun cannot be stopped; those that wait would take 10 s more.
        assert daemon.exit_code(10) == 0
        codes = {outcome(call) for call in calls}
        assert codes <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE,
                         grpc.StatusCode.CANCELLED} and codes != {grpc.StatusCode.OK}


def test_run_that_never_ends_does_not_hold_the_process(tmp_path, slow_repository, pool):
    limit = ("--drain-limit-ms", 200)
    with harness.serving(tmp_path, slow_repository, *limit) as daemon:
        call = pool.submit(daemon.classify, "slow", wire.row([2e9]))
        harness.wait_until(lambda: daemon.status().executors[0].rows_running, "the run")
        daemon.terminate()
        assert daemon.exit_code(5) == 0
        assert outcome(call) in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        assert "abandoned" in daemon.log()


def test_second_signal_ends_it_at_once(tmp_path, slow_repository, pool):
    with harness.serving(tmp_path, slow_repository, code=1) as daemon:
        call = pool.submit(daemon.classify, "slow", wire.row([2e9]))
        harness.wait_until(lambda: daemon.status().executors[0].rows_running, "the run")
        daemon.terminate()
        harness.wait_until(lambda: "draining" in daemon.log(), "the drain")
        daemon.terminate()
        assert daemon.exit_code(5) == 1
        assert outcome(call) in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


def test_sigterm_under_load_loses_nothing(tmp_path, linear_repository):
    """Until it is told UNAVAILABLE every caller gets its answer; nobody hears CANCELLED."""
    def hammer(daemon):
        while True:
            try:
                daemon.classify("linear", wire.row([1, 2, 3, 4]))
            except grpc.RpcError as error:
                return error.code()

    with (harness.serving(tmp_path, linear_repository) as daemon,
          concurrent.futures.ThreadPoolExecutor(16) as pool):
        callers = [pool.submit(hammer, daemon) for _ in range(16)]
        time.sleep(0.3)
        daemon.terminate()
        assert {caller.result(60) for caller in callers} == {grpc.StatusCode.UNAVAILABLE}
        assert daemon.exit_code() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_while_loading(tmp_path, number):
    """A load that never ends must not keep an operator from stopping the server."""
    small_models.add_endless(tmp_path / "repository")
    command = [harness.TORCHD, "--model-repository", tmp_path / "repository", "--grpc-address",
               "127.0.0.1:0", "--http-address", "127.0.0.1:0", "--drain-limit-ms", "0"]
    process = subprocess.Popen([str(word) for word in command], env=harness.clean_environment(),
                               stderr=subprocess.PIPE)
    try:
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(number)
        assert process.wait(5) == 0
    finally:
        process.kill()
        process.communicate()


def test_address_file_lives_as_long_as_the_service(tmp_path, linear_repository):
    """A script that waits for the file never reads ports that are gone."""
    path = tmp_path / "addresses.json"
    path.write_text("of an earlier start")
    command = [harness.TORCHD, "--model-repository", linear_repository, "--grpc-address",
               "127.0.0.1:0", "--http-address", "127.0.0.1:0", "--address-file", path]
    process = subprocess.Popen([str(word) for word in command], env=harness.clean_environment())
    try:
        harness.wait_until(lambda: path.exists() and "grpc" in path.read_text(), "the addresses")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert not path.exists()
    finally:
        process.kill()
        process.wait()


def test_sigint_ends_it_too(tmp_path, slow_repository):
    with harness.serving(tmp_path, slow_repository) as daemon:
        daemon.process.send_signal(signal.SIGINT)
        assert daemon.exit_code(10) == 0


def test_idle_daemon_ends_quickly(tmp_path, slow_repository):
    with harness.serving(tmp_path, slow_repository) as daemon:
        start = time.monotonic()
        daemon.terminate()
        assert daemon.exit_code(5) == 0 and time.monotonic() - start < 3
