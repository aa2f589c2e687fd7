"""What is refused, displaced, too late or cancelled never runs, and its caller hears so at once
(docs/scheduling.md); the settings behind it. As in test_scheduling.py the only executor is held
while rows have to wait, so an answer that comes meanwhile did not wait for a run.
"""

import json
import time

import grpc
import numpy as np
import pytest

import gated
import harness
import wire
from gated import error, expected, pushback_ms, row, scores
from test_startup import refused

HIGH, LOW = wire.inference.PRIORITY_HIGH, wire.inference.PRIORITY_LOW
REFUSED, RUNS = "torchd_requests_refused_total", "torchd_runs_total"
DEADLINE, EXHAUSTED = grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED


def failure(send) -> tuple:
    """The error of the call that `send` makes, and after how many seconds it came."""
    begin = time.monotonic()
    failed = error(send())
    return failed, time.monotonic() - begin


def refusals(send, count: int) -> list:
    """Of `count` calls. The quickest tells whether they come at once: the machine is shared."""
    found = [failure(send) for _ in range(count)]
    assert min(seconds for _, seconds in found) < 0.1, found
    return [failed for failed, _ in found]


def full(served, **options) -> list:
    """Calls that fill the queue of `bounded`: rows 0 to 3."""
    return [served.queue("bounded", row(n), **options) for n in range(4)]


# --- The queue's bound. ---


def test_full_queue_refuses_at_once_and_says_when_to_come_again(served):
    with served.counted(3, REFUSED, reason="queue_full"), served.counted(4, RUNS, model="bounded"):
        with served.held():
            calls = full(served)
            for failed in refusals(lambda: served.send("bounded", row(9)), 3):
                assert failed.code() == EXHAUSTED and pushback_ms(failed) > 0
        assert [scores(call) for call in calls] == [expected(n) for n in range(4)]
    assert served.order() == [0, 1, 2, 3]
    assert scores(served.send("bounded", row(5))) == expected(5), "it takes again"


def test_refusal_for_a_full_queue_names_model_and_limit(served):
    with served.held():
        calls = full(served)
        reason = error(served.send("bounded", row(9))).details()
    assert [scores(call) for call in calls] == [expected(n) for n in range(4)]
    assert "at most 4" in reason and "bounded" in reason


def test_full_queue_of_one_model_is_no_other_models_business(served):
    with served.held():
        calls = [*full(served), served.queue("one", row(4))]
    assert [scores(call) for call in calls] == [expected(n) for n in range(5)]


def test_items_for_which_there_is_no_room_fail_alone(served):
    with served.held(), served.counted(2, REFUSED, reason="queue_full"):
        call = served.send("bounded", *(row(n) for n in range(6)))
        harness.wait_until(lambda: served.waiting() == 4, "those with room")
    codes = [one.error.code for one in call.result(harness.CALL_LIMIT_S).results]
    assert codes == [0] * 4 + [EXHAUSTED.value[0]] * 2


def test_high_priority_takes_the_place_of_the_newest_low_one(served):
    with served.counted(1, REFUSED, reason="displaced"), served.held():
        calls = full(served, priority=LOW)
        high = served.send("bounded", row(4), priority=HIGH)
        failed = error(calls[3])
        assert failed.code() == EXHAUSTED and pushback_ms(failed) > 0
        assert error(served.send("bounded", row(5), priority=LOW)).code() == EXHAUSTED
    assert scores(high) == expected(4)
    assert [scores(call) for call in calls[:3]] == [expected(n) for n in range(3)]
    assert served.order() == [4, 0, 1, 2]


def test_client_with_less_in_a_full_queue_takes_a_place(served):
    with served.counted(1, REFUSED, reason="displaced"), served.held():
        calls = full(served, client="greedy")
        polite = served.send("bounded", row(4), client="polite")
        failed = error(calls[3])
        assert failed.code() == EXHAUSTED and pushback_ms(failed) > 0
    assert scores(polite) == expected(4)
    assert [scores(call) for call in calls[:3]] == [expected(n) for n in range(3)]
    assert sorted(served.order()) == [0, 1, 2, 4]


# --- Deadlines. ---


def test_what_no_idle_executor_could_make_is_refused_at_admission(served):
    """A run takes 60 ms and the request allows 15."""
    for options in ({"timeout_ms": 15}, {"timeout": 0.015}):
        with served.counted(0, RUNS, model="long-one"):
            assert error(served.send("long-one", row(0), **options)).code() == DEADLINE, options
            served.wait_idle()
    assert served.runs() == []


def test_caller_hears_of_its_timeout_while_the_run_goes_on(served):
    with served.held(timeout_ms=300) as call:
        assert error(call).code() == DEADLINE


def expire(served, model: str, **options) -> None:
    """A row whose deadline passes while it waits."""
    with served.counted(0, RUNS, model=model):
        with served.held(served.fresh_gate()):
            begin = time.monotonic()
            call = served.queue(model, row(0), **options)
            assert error(call).code() == DEADLINE
            assert 0.49 < time.monotonic() - begin < 5
            harness.wait_until(lambda: served.waiting() == 0, "its place")
    assert served.order() == []


@pytest.mark.parametrize(("model", "options"), [
    ("one", {"timeout_ms": 500}), ("timed", {}), ("timed", {"timeout_ms": 60_000}),
    ("one", {"timeout_ms": 500, "timeout": 60}), ("timed", {"timeout": 60}),
], ids=["request", "configuration", "configuration-before-request", "request-before-grpc",
        "configuration-before-grpc"])
def test_what_expires_while_it_waits_never_runs(served, model, options):
    """By the earliest of its deadlines."""
    with served.counted(1, REFUSED, reason="deadline"):
        expire(served, model, **options)


def test_what_expires_by_grpc_while_it_waits_never_runs(served):
    """Its caller has given up when the server looks: not always counted as late, it may be as
    cancelled."""
    expire(served, "one", timeout=0.5)


def test_deadline_that_is_met_costs_nothing(served):
    with served.counted(0, REFUSED):
        for options in ({"timeout": 30}, {"timeout_ms": 30_000}):
            assert scores(served.send("one", row(1), **options)) == expected(1)
    assert served.order() == [1, 1]


# --- Cancelled. ---


def test_cancelled_while_it_waits_is_not_run(served):
    with served.counted(1, RUNS, model="one"):
        with served.held():
            cancelled = served.queue("one", row(0))
            stays = served.queue("one", row(1))
            cancelled.cancel()
            harness.wait_until(lambda: served.waiting() == 1, "its place")
        assert scores(stays) == expected(1)
    assert served.order() == [1]


def test_connection_that_goes_away_cancels_what_waits(served):
    with served.held():
        with served.other_connection() as other:
            served.queue("one", row(0), stub=other)
        harness.wait_until(lambda: served.waiting() == 0, "its place")
    assert scores(served.send("one", row(1))) == expected(1)
    assert served.order() == [1]


# --- Memory. ---


def test_bytes_in_flight_have_a_limit_and_it_recovers(tmp_path):
    def large(number, kib):
        return row(number, *np.zeros(kib * 256))

    made = gated.repository(tmp_path, {"gate": {}, "open-eight": {}})
    with harness.serving(tmp_path, made, "--in-flight-mb-max", 1) as daemon:
        served = gated.GatedDaemon(daemon, tmp_path)
        with served.counted(3, REFUSED, reason="memory"), served.held():
            calls = [served.queue("open-eight", large(n, 440)) for n in range(2)]
            for failed in refusals(lambda: served.send("open-eight", large(9, 440)), 3):
                assert failed.code() == EXHAUSTED and pushback_ms(failed) > 0, failed.details()
                assert "in_flight_mb_max" in failed.details() or "MiB" in failed.details()
        for n, call in enumerate(calls):
            assert scores(call) == [0, 440 * 256 + 1, gated.MARK + n]
        assert 9 not in served.order()
        for _ in range(3):  # What was refused takes no memory, nor what was answered.
            both = [served.send("open-eight", large(n, 440)) for n in range(2)]
            assert [scores(call)[2] - gated.MARK for call in both] == [0, 1]
        assert scores(served.send("open-eight", large(3, 3000))), "one alone is always let in"


# --- The settings. ---


def test_knobs_are_shown(served):
    shown = harness.run_torchctl("--address", served.daemon.grpc, "models", "knobs", "--verbose")
    lines = [" ".join(line.split()) for line in shown.stdout.decode().splitlines()]
    for begin, value in (("rows in a run", "at most 16, in runs of 1, 2, 4, 8, 16"),
                         ("rows waiting", "0 now, at most 77"), ("wait for company", "4567 us"),
                         ("wait for callers", "6543 us after a run"),
                         ("executors", "at most 3"), ("ageing", "8901 ms"),
                         ("time for a request", "at most 2345 ms"), ("NaN, infinite", "flag")):
        (line,) = [line for line in lines if line.startswith(begin)]
        assert value in line, lines
    listed = harness.run_torchctl("--address", served.daemon.grpc, "models", "--json")
    of = {one["name"]: one["scheduling"] for one in json.loads(listed.stdout)}
    knobs = {"rows_per_batch_max": 16, "rows_waiting_max": 77, "delay_us_max": 4567,
             "regroup_us_max": 6543, "executors_max": 3, "ageing_ms": 8901, "timeout_ms": 2345, "non_finite": "flag"}
    assert {key: of["knobs"][key] for key in knobs} == knobs
    assert of["knobs"]["buckets"] == [1, 2, 4, 8, 16]
    assert of["one"]["rows_waiting_max"] == 99, "the server's"
    assert [of["one"][key] for key in ("delay_us_max", "timeout_ms", "executors_max")] == [0, 0, 0]


def test_capped_model_leaves_an_executor_to_others(tmp_path):
    made = gated.repository(tmp_path, {"gate": {"queue": {"executors_max": 1}}, "one": {}})
    with harness.serving(tmp_path, made, "--cpu-executors", 2) as daemon:
        served = gated.GatedDaemon(daemon, tmp_path)
        with served.held():
            capped = served.queue("gate", row(0))
            for n in range(1, 6):
                assert scores(served.send("one", row(n))) == expected(n)
            assert served.waiting() == 1 and not capped.done()
        assert scores(capped) == expected(0)
    assert served.order() == [1, 2, 3, 4, 5, 0]


# A line of model.yaml: what the reason has to name beside the value.
WRONG = {
    "rows_per_batch_max: 0": ["rows_per_batch_max", "1..1024"],
    "rows_per_batch_max: 1025": ["rows_per_batch_max", "1..1024"],
    "timeout_ms: -1": ["timeout_ms", "0..3600000"],
    "timeout_ms: 3600001": ["timeout_ms", "0..3600000"],
    "non_finite: ignore": ["non_finite", "error", "flag"],
    "queue: {rows_waiting_max: 0}": ["queue.rows_waiting_max", "1..1000000"],
    "queue: {rows_waiting_max: many}": ["queue.rows_waiting_max", "1..1000000"],
    "queue: {delay_us_max: 10000001}": ["queue.delay_us_max", "0..10000000"],
    "queue: {regroup_us_max: 10000001}": ["queue.regroup_us_max", "0..10000000"],
    "queue: {executors_max: 0}": ["queue.executors_max", "1..64"],
    "queue: {executors_max: 65}": ["queue.executors_max", "1..64"],
    "queue: {ageing_ms: 600001}": ["queue.ageing_ms", "0..600000"],
    "queue: {ageing_ms: 1.5}": ["queue.ageing_ms", "0..600000"],
    "queue: {patience: ageing_ms}": ["queue.patience", "is not a setting", "delay_us_max"],
    "queue: 5": ["queue", "mapping"],
    "text: {lengths: [16, 8]}": ["text.lengths", "17..8192"],
    "text: {lengths: [0]}": ["text.lengths", "1..8192"],
}


@pytest.fixture(scope="module")
def reasons(tmp_path_factory):
    """Why the models with these lines do not serve."""
    folder = tmp_path_factory.mktemp("wrong")
    for at, line in enumerate(WRONG):
        path = folder / "models" / f"wrong-{at}" / "1/model.pt"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"is not looked at")
        (path.parent / "model.yaml").write_text(line + "\n")
    with harness.serving(folder, folder / "models") as daemon:
        listed = harness.run_torchctl("--address", daemon.grpc, "models", "--json")
    return {one["name"]: one["reason"] for one in json.loads(listed.stdout)}


@pytest.mark.parametrize("line", WRONG)
def test_wrong_value_of_a_knob_is_named_with_what_was_expected(reasons, line):
    reason = reasons[f"wrong-{list(WRONG).index(line)}"]
    value = line.strip("{}[]").split(": ")[-1].strip("{}[]").split(", ")[-1]
    for part in (*WRONG[line], value, "expected", "model.yaml:1"):
        assert part in reason, reason


@pytest.mark.parametrize(("key", "values", "expected_range"), [
    ("rows_per_batch_max", (0, 1025, "x"), "1..1024"),
    ("rows_waiting_max", (0, 1000001), "1..1000000"),
    ("in_flight_mb_max", (0, 1048577), "1..1048576"),
    ("cpu_executors", (0, 65), "1..64"),
    ("threads_per_executor", (-1, 257), "0..256"),
])
def test_wrong_setting_is_named_with_what_was_expected(key, values, expected_range):
    for value in values:
        line = refused(f"--{key.replace('_', '-')}={value}", "--check-config")
        for part in (key, str(value), expected_range):
            assert part in line, line


def test_priority_that_nobody_knows_is_refused(served):
    failed = served.daemon.refusal("one", row(0), priority=99)
    assert failed.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "priority" in failed.details() and "99" in failed.details()
    assert served.runs() == []
    done = harness.run_torchctl("--address", served.daemon.grpc, "classify", "--priority", "urgent",
                                "--text", "x")
    assert done.returncode == 2 and b"urgent" in done.stderr and b"low" in done.stderr
