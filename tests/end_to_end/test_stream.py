"""ClassifyStream: many requests on one stream, answered as they are ready, and no more under way than a
stream may have."""

import queue
import threading
import time

import grpc
import numpy as np
import pytest

import harness
import pictures
import wire
from gated import expected, row

UNDER_WAY_MAX = 64  # server/rpc/classify_stream.h


def asked(number, model, *items, **options):
    return wire.inference.ClassifyStreamRequest(id=number,
                                                request=wire.request(model, *items, **options))


def streamed(daemon, requests, **how) -> dict:
    """The responses by their id; each came once."""
    answers = list(daemon.inference.ClassifyStream(iter(requests), timeout=60, **how))
    by_id = {answer.id: answer for answer in answers}
    assert len(by_id) == len(answers)
    return by_id


class Conversation:
    """A stream whose requests come when the test says so."""

    def __init__(self, stub, **how):
        self._requests = queue.SimpleQueue()
        self.call = stub.ClassifyStream(iter(self._requests.get, None), **how)

    def send(self, request) -> None:
        self._requests.put(request)

    def half_close(self) -> None:
        self._requests.put(None)


def test_each_request_is_answered_as_by_classify(daemon, data):
    photo = (data / "cat.jpg").read_bytes()
    calls = [("linear", [wire.row([number, 2, 3, 4])], {"top_k": 2}) for number in range(200)]
    calls.append((pictures.MODEL, [wire.image(photo), wire.image(b"none")], {"top_k": 3}))
    found = streamed(daemon, [asked(number, model, *items, **options)
                              for number, (model, items, options) in enumerate(calls)])
    assert set(found) == set(range(len(calls)))
    for number, (model, items, options) in enumerate(calls):
        answer = daemon.classify(model, *items, **options)
        response = found[number].response
        assert not found[number].HasField("error")
        assert (response.model, response.version) == (answer.model, answer.version)
        for one, other in zip(response.results, answer.results, strict=True):
            assert one.error == other.error
            assert [(a.index, a.label) for a in one.classes] == [
                (b.index, b.label) for b in other.classes]
            np.testing.assert_allclose([a.probability for a in one.classes],
                                       [b.probability for b in other.classes], rtol=1e-5)


def test_a_request_that_fails_leaves_the_stream_alone(daemon):
    good = wire.row([1, 2, 3, 4])
    bad = [("nobody", good, {}), ("broken", good, {}), ("linear", wire.row([1]), {}),
           ("linear", good, {"top_k": 9}), ("linear", wire.text("x"), {})]
    requests = [asked(number, *one[:2], **one[2]) for number, one in enumerate(bad)]
    found = streamed(daemon, [*requests, wire.inference.ClassifyStreamRequest(id=7),
                              asked(8, "linear", good)])
    for number, (model, item, options) in enumerate(bad):
        refused = daemon.refusal(model, item, **options)
        assert not found[number].HasField("response")
        assert found[number].error.code == refused.code().value[0]
        assert found[number].error.message == refused.details()
    assert found[7].error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert len(found[8].response.results[0].classes) == 3


def test_answers_come_in_the_order_in_which_they_are_ready(served):
    with served.held():
        conversation = Conversation(served.daemon.inference, timeout=60)
        conversation.send(asked(1, "one", row(1)))
        harness.wait_until(lambda: served.waiting() == 1, "the row that waits")
        conversation.send(asked(2, "nobody", row(2)))  # Needs no executor.
        first = next(conversation.call)
        assert first.id == 2
    assert next(conversation.call).id == 1
    conversation.half_close()
    assert list(conversation.call) == []
    assert conversation.call.code() == grpc.StatusCode.OK


def test_a_half_close_drains(served):
    with served.held():
        conversation = Conversation(served.daemon.inference, timeout=60)
        for number in range(3):
            conversation.send(asked(number, "one", row(number)))
        conversation.half_close()
        harness.wait_until(lambda: served.waiting() == 3, "the rows that wait")
    answers = {one.id: one.response for one in conversation.call}
    assert conversation.call.code() == grpc.StatusCode.OK
    for number in range(3):
        assert list(wire.probabilities(answers[number].results[0])) == expected(number)


def test_a_requests_own_timeout_is_its_own(served):
    with served.held(served.fresh_gate()):
        conversation = Conversation(served.daemon.inference, timeout=60)
        conversation.send(asked(1, "one", row(1), timeout_ms=200))
        late = next(conversation.call)
        assert late.error.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
        conversation.send(asked(2, "one", row(2)))
        harness.wait_until(lambda: served.waiting() == 1, "the row that waits")
    assert next(conversation.call).HasField("response")
    conversation.half_close()


@pytest.mark.parametrize("how", ["cancel", "deadline"])
def test_the_end_of_the_stream_frees_what_waits(served, how):
    with served.held():
        conversation = Conversation(served.daemon.inference,
                                    timeout=1 if how == "deadline" else 60)
        for number in range(5):
            conversation.send(asked(number, "one", row(number)))
        if how == "cancel":
            harness.wait_until(lambda: served.waiting() == 5, "the rows that wait")
            conversation.call.cancel()
        harness.wait_until(lambda: served.waiting() == 0, "an empty queue")
        if how == "deadline":
            with pytest.raises(grpc.RpcError):
                list(conversation.call)
            assert conversation.call.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    conversation.half_close()
    served.wait_idle()
    assert served.runs() == []


def test_a_stream_has_no_more_than_its_share_under_way(served):
    with served.held():
        conversation = Conversation(served.daemon.inference, timeout=60)
        for number in range(UNDER_WAY_MAX + 30):
            conversation.send(asked(number, "one", row(number)))
        harness.wait_until(lambda: served.waiting() == UNDER_WAY_MAX, "the rows that wait")
        time.sleep(0.2)  # Time enough for one too many.
        assert served.waiting() == UNDER_WAY_MAX
    conversation.half_close()
    assert sorted(one.id for one in conversation.call) == list(range(UNDER_WAY_MAX + 30))


def resident_mb(daemon) -> float:
    for line in daemon.get("/metrics")[1].splitlines():
        if line.startswith("process_resident_memory_bytes "):
            return float(line.split()[1]) / 2**20
    raise AssertionError("no such metric")


def test_memory_stays_bounded_while_a_client_does_not_read(tmp_path, linear_repository):
    """Six streams of requests of 600 KB, whose clients send what they can and read nothing: the server
    stops to read them. Others are served meanwhile, and all is answered once they read."""
    large = wire.tensors(wire.tensor(np.zeros((3, 224, 224), np.float32)))  # Refused for its shape.
    items = [large, *(wire.row([number, 2, 3, 4]) for number in range(63))]  # For an answer of 10 KB.
    count, streams = 300, 6
    with harness.serving(tmp_path, linear_repository) as own:
        begun = resident_mb(own)
        sent = [0] * streams

        def requests(stream: int):
            for number in range(count):
                yield asked(number, "linear", *items)
                sent[stream] = number + 1

        # By itself a client takes more and more that its caller has not asked for.
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.http2.bdp_probe", 0),
                   ("grpc.http2.lookahead_bytes", 65536)]
        channels = [grpc.insecure_channel(own.grpc, options) for _ in range(streams)]
        calls = [wire.inference_grpc.InferenceServiceStub(channel).ClassifyStream(requests(number))
                 for number, channel in enumerate(channels)]
        highest = begun
        end = time.monotonic() + 6
        while time.monotonic() < end:
            highest = max(highest, resident_mb(own))
            # Another caller than they: where the queue is full it takes a place of theirs.
            own.inference.Classify(wire.request("linear", wire.row([1, 2, 3, 4])), timeout=20,
                                   metadata=[("torchd-client", "another")])
            time.sleep(0.05)
        assert max(sent) < 2 * UNDER_WAY_MAX, sent  # Of 300.
        assert highest - begun < 400, (begun, highest, sent)  # All that waits to be sent is 1 GB.
        counts = [0] * streams

        def read(stream: int):
            for _ in calls[stream]:
                counts[stream] += 1

        readers = [threading.Thread(target=read, args=(stream,)) for stream in range(streams)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(60)
        assert counts == [count] * streams
        for channel in channels:
            channel.close()


def test_draining_answers_what_is_under_way(tmp_path, slow_repository):
    with harness.serving(tmp_path, slow_repository) as own:
        conversation = Conversation(own.inference, timeout=60)
        conversation.send(asked(1, "slow", wire.row([200_000])))
        harness.wait_until(lambda: own.status().executors[0].rows_running == 1, "the run")
        own.terminate()
        assert next(conversation.call).HasField("response")
        conversation.half_close()
