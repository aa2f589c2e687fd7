"""Who runs when and with whom (docs/scheduling.md). Where rows have to queue, a test holds the only
executor and reads afterwards what ran in which order: it does not matter how fast the machine is.
"""

import contextlib
import statistics
import time

import grpc
import numpy as np
import pytest

import harness
import wire
from gated import BAD, MARK, Stream, error, expected, row, scores, times

HIGH, NORMAL, LOW = (wire.inference.PRIORITY_HIGH, wire.inference.PRIORITY_NORMAL,
                     wire.inference.PRIORITY_LOW)
RUNS = "torchd_runs_total"
INTERNAL = grpc.StatusCode.INTERNAL


# --- Idle. ---


def test_idle_executor_takes_a_lone_row_at_once(served):
    """The model may run eight rows together; that is no reason to wait for a second."""
    with served.counted(20, RUNS, model="eight"):
        waits = [times(served.send("eight", row(n))).queue_us for n in range(20)]
    assert statistics.median(waits) < 5000, waits
    assert served.runs() == [[n] for n in range(20)]


def test_idle_executor_waits_for_company_where_the_configuration_says_so(served):
    """The opposite of the test above: seven rows complete the batch, and the wait ends at once."""
    with served.counted(1, RUNS, model="delayed"):
        first = served.queue("delayed", row(0))
        rest = served.send("delayed", *(row(n) for n in range(1, 8)))
        assert scores(first) == expected(0)
        assert not any(one.HasField("error") for one in rest.result().results)
    assert served.order() == list(range(8)) and len(served.runs()) == 1
    assert times(first).total_us < 9_000_000, "the wait's end, not its limit"


# --- Together. ---


def test_rows_that_queued_during_a_run_ride_together(served):
    before = served.count(RUNS, model="eight")
    with served.held():
        calls = [served.queue("eight", row(n)) for n in range(16)]
    assert [scores(call) for call in calls] == [expected(n) for n in range(16)]
    runs = served.runs()
    assert sorted(served.order()) == list(range(16)), "each once"
    served.wait_idle()
    assert len(runs) <= 8 and max(len(run) for run in runs) <= 8, runs
    assert served.count(RUNS, model="eight") - before == len(runs)


def test_many_clients_share_runs_no_larger_than_the_limit(served):
    before = served.count(RUNS, model="eight")
    with contextlib.ExitStack() as stack:
        stubs = [stack.enter_context(served.other_connection()) for _ in range(8)]
        calls = [served.send("eight", row(n), stub=stubs[n % 8]) for n in range(64)]
        assert [scores(call) for call in calls] == [expected(n) for n in range(64)]
    assert served.count(RUNS, model="eight") - before <= 48
    assert 2 <= max(len(run) for run in served.runs()) <= 8
    up_to_eight, all_runs = (served.count("torchd_batch_rows_bucket", model="eight", le=le)
                             for le in ("8", "+Inf"))
    assert up_to_eight == all_runs > 0, "a run of more than eight rows"


def test_model_whose_limit_is_one_row_runs_them_one_by_one(served):
    with served.counted(6, RUNS, model="one"):
        with served.held():
            calls = [served.queue("one", row(n)) for n in range(6)]
        assert [scores(call) for call in calls] == [expected(n) for n in range(6)]
    assert served.runs() == [[n] for n in range(6)]


def test_shapes_never_share_a_run_and_answers_are_those_of_a_lone_row(served):
    values = [tuple(range(n + 1, n + 2 + n % 3)) for n in range(18)]
    alone = [scores(served.send("open-eight", row(n, *values[n]))) for n in range(18)]
    assert alone == [expected(n, *values[n]) for n in range(18)]
    served.forget()
    with served.held():
        calls = [served.queue("open-eight", row(n, *values[n])) for n in range(18)]
    assert [scores(call) for call in calls] == alone
    runs = served.runs()
    assert all(len({number % 3 for number in run}) == 1 for run in runs), runs
    assert any(len(run) > 1 for run in runs), runs


# --- Priorities. ---


def ask_in_order(served, model: str, priorities: list) -> list:
    """Rows 0, 1, ... that queue one after another."""
    return [served.queue(model, row(n), priority=one) for n, one in enumerate(priorities)]


def test_high_goes_before_normal_before_low(served):
    with served.held():
        calls = ask_in_order(served, "patient", [LOW, LOW, 0, NORMAL, HIGH, HIGH])
    assert [scores(call) for call in calls] == [expected(n) for n in range(6)]
    assert served.order() == [4, 5, 2, 3, 0, 1], "0 is normal, and equals go as they came"


@pytest.mark.parametrize(("model", "order"), [
    ("ageing", [0, 1, 2]), ("patient", [0, 2, 1]), ("in-order", [0, 1, 2])])
def test_low_row_that_has_waited_goes_before_newer_ones(served, model, order):
    """The wait is twice ageing_ms of `ageing`, and a bit: high is two priorities above low."""
    with served.held():
        calls = ask_in_order(served, model, [HIGH, LOW])
        time.sleep(0.5)
        calls.append(served.queue(model, row(2), priority=HIGH))
    assert [scores(call) for call in calls] == [expected(n) for n in range(3)]
    assert served.order() == order


def test_without_ageing_the_first_to_come_goes_first(served):
    with served.held():
        calls = ask_in_order(served, "in-order", [LOW, NORMAL, HIGH])
    assert [scores(call) for call in calls] == [expected(n) for n in range(3)]
    assert served.order() == [0, 1, 2]


def test_low_row_is_answered_while_high_ones_keep_coming(served):
    with Stream(served, 64, model="ageing", priority=HIGH) as stream:
        harness.wait_until(lambda: len(stream.totals_us) > 64, "answers of the stream")
        assert served.send("ageing", row(0), priority=LOW).result(10).results


def test_deadline_lets_a_model_go_before_one_without(served):
    """Whose turn, without any, is half a second after its row came."""
    gate = served.fresh_gate()

    def order():
        served.forget()
        with served.held(gate):
            calls = [served.queue("one", row(0)), served.send("eight", row(1), timeout_ms=250)]
            harness.wait_until(lambda: calls[1].done() or served.waiting() == 2, "the other row")
        assert scores(calls[0]) == expected(0)
        return served.order()

    # A machine that stands still for a moment is not the daemon's doing.
    assert [1, 0] in (order() for _ in range(5))


def test_deadlines_beyond_half_a_second_do_not_decide_between_models(served):
    with served.held():
        calls = [served.queue("one", row(0), timeout_ms=50_000),
                 served.queue("eight", row(1), timeout_ms=20_000)]
    assert [scores(call) for call in calls] == [expected(0), expected(1)]
    assert served.order() == [0, 1]


# --- Clients. ---


@pytest.mark.parametrize(("greedy", "polite", "other_connection", "at_most"), [
    ("greedy", "polite", False, 1), ("", "", True, 64), ("greedy", "greedy", True, 64)],
    ids=["by-name", "one-address", "one-name"])
def test_clients_take_turns(served, greedy, polite, other_connection, at_most):
    """64 rows of the greedy one wait when the polite one's only row comes. The last two cases show
    what it would have had to wait for."""
    with served.other_connection() as other:
        with served.held():
            calls = [served.send("one", row(n), client=greedy) for n in range(64)]
            harness.wait_until(lambda: served.waiting() == 64, "the greedy one's rows")
            call = served.queue("one", row(64), client=polite,
                                stub=other if other_connection else None)
        assert scores(call) == expected(64)
    assert [scores(call) for call in calls] == [expected(n) for n in range(64)]
    at = served.order().index(64)
    assert at <= at_most and (at == 64) == (at_most == 64)


def test_polite_client_is_not_starved_by_a_greedy_one(served):
    with Stream(served, 64, model="one", client="greedy") as greedy:
        harness.wait_until(lambda: len(greedy.totals_us) > 64, "a backlog")
        del greedy.totals_us[:]
        polite = [times(served.send("one", row(n), client="polite")).total_us for n in range(10)]
        harness.wait_until(lambda: len(greedy.totals_us) > 64, "answers to the greedy one")
    backlog = statistics.median(greedy.totals_us)
    assert statistics.median(polite) < backlog / 4, (polite, backlog)


# --- Bad apples. ---


def test_row_that_fails_in_company_fails_alone(served):
    runs = served.count(RUNS, model="eight", reason="retry")
    with served.counted(1, "torchd_items_total", model="eight", code="INTERNAL"):
        with served.held():
            calls = [served.queue("eight", row(n, BAD if n == 3 else n, 0, 0)) for n in range(6)]
        assert error(calls[3]).code() == INTERNAL
        for n in (0, 1, 2, 4, 5):
            assert scores(calls[n]) == expected(n, n, 0, 0)
    (together, *_) = [run for run in served.runs() if 3 in run]
    assert len(together) > 1, "it had no company"
    assert served.runs().count([3]) == 1, "once more, by itself"
    assert served.count(RUNS, model="eight", reason="retry") - runs == len(together)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_that_are_no_numbers_are_an_error(served, value):
    with served.held():
        calls = [served.queue("eight", row(n, value if n == 1 else n, 0, 0)) for n in range(4)]
    assert error(calls[1]).code() == INTERNAL
    for n in (0, 2, 3):
        assert scores(calls[n]) == expected(n, n, 0, 0)
        assert not calls[n].result().results[0].non_finite
    assert served.daemon.refusal("eight", row(1, value, 0, 0)).code() == INTERNAL, "alone, too"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_that_are_no_numbers_are_left_out_where_the_configuration_says_so(served, value):
    with served.held():
        calls = [served.queue("flag", row(n, value if n == 1 else n, 0, 0)) for n in range(4)]
    for n in (0, 2, 3):
        assert scores(calls[n]) == expected(n, n, 0, 0)
        assert not calls[n].result().results[0].non_finite
    (flagged,) = calls[1].result().results
    assert flagged.non_finite and not flagged.HasField("error")
    assert [(one.index, one.probability) for one in flagged.classes] == [(2, MARK + 1), (1, 4)]


def test_softmax_goes_over_the_scores_that_are_left(served):
    (found,) = served.daemon.classify("flag", wire.row([3, np.nan, 0, 0]), softmax=True).results
    share = 1 / (1 + np.exp(3 - 4))  # Their scores are 4 and 3.
    assert found.non_finite and [one.index for one in found.classes] == [1, 2]
    assert [one.probability for one in found.classes] == pytest.approx([share, 1 - share])
