"""What both clients do when a server refuses, is lost, or says that it does not serve."""

import asyncio
import collections

import grpc
import pytest
import torchd

import fake_server
import harness
from fake_server import FULL


@pytest.fixture
def fake():
    with fake_server.serving() as running:
        yield running


@pytest.fixture
def other():
    with fake_server.serving() as running:
        yield running


REFUSED = (torchd.TorchdError, RuntimeError)


def by_threads(addresses, inputs=b"x", **options):
    with torchd.Client(addresses, timeout=20, **options) as client:
        return client.classify(inputs)


def by_asyncio(addresses, inputs=b"x", **options):
    async def call():
        async with torchd.AsyncClient(addresses, timeout=20, **options) as client:
            return await client.classify(inputs)

    return asyncio.run(call())


def by_torchctl(addresses, inputs=b"x", retry=True):
    flags = [] if retry is True else ["--no-retry"]
    done = harness.run_torchctl("classify", "--address", addresses, *flags, "-", stdin=inputs)
    if done.returncode:
        raise RuntimeError(done.stderr.decode())


@pytest.fixture(params=[by_threads, by_asyncio, by_torchctl], ids=["threads", "asyncio", "torchctl"])
def classify(request):
    return request.param


@pytest.mark.parametrize("code", [FULL, grpc.StatusCode.UNAVAILABLE], ids=["full", "unavailable"])
def test_a_refusal_that_may_pass_is_tried_again(fake, classify, code):
    fake.refusals = [(code, None)] * 3
    classify(fake.address)
    assert len(fake.arrivals) == 4


def test_the_server_says_how_long_to_wait(fake, classify):
    fake.refusals = [(FULL, 700)]
    classify(fake.address)
    first, second = fake.arrivals
    assert second - first >= 0.69  # By itself it would pause for 0.05 s at most.


def test_the_server_may_forbid_it(fake, classify):
    fake.refusals = [(FULL, -1)]
    with pytest.raises(REFUSED, match="as the test says"):
        classify(fake.address)
    assert len(fake.arrivals) == 1


def test_there_is_a_last_attempt(fake, classify):
    fake.refusals = [(FULL, 1)] * 9
    with pytest.raises(REFUSED, match="as the test says"):
        classify(fake.address)
    assert len(fake.arrivals) == 4


def test_a_large_message_is_tried_again(fake, classify):
    """Unless told otherwise gRPC keeps 256 KiB for it."""
    fake.refusals = [(FULL, 1)]
    classify(fake.address, bytes(3_000_000))
    assert len(fake.arrivals) == 2


@pytest.mark.parametrize("code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL])
def test_what_cannot_pass_is_not(fake, classify, code):
    fake.refusals = [(code, None)]
    with pytest.raises(REFUSED):
        classify(fake.address)
    assert len(fake.arrivals) == 1


def test_it_can_be_switched_off(fake, classify):
    fake.refusals = [(FULL, None)]
    with pytest.raises(REFUSED):
        classify(fake.address, retry=None)
    assert len(fake.arrivals) == 1


@pytest.mark.parametrize(("code", "exit_code"), [(FULL, 4), (grpc.StatusCode.UNAVAILABLE, 4),
                                                 (grpc.StatusCode.DEADLINE_EXCEEDED, 4),
                                                 (grpc.StatusCode.INTERNAL, 1)])
def test_torchctl_tells_scripts_whether_another_try_may_help(fake, code, exit_code):
    fake.refusals = [(code, None)]
    done = harness.run_torchctl("classify", "--address", fake.address, "--no-retry", "-", stdin=b"x")
    assert done.returncode == exit_code, done


def test_a_client_names_itself(fake):
    by_threads(fake.address, client_name="shop")
    by_asyncio(fake.address, client_name="shop")
    assert [one["torchd-client"] for one in fake.metadata] == ["shop"] * 2


def counts(client, calls: int) -> collections.Counter:
    return collections.Counter(client.classify(b"x").top.label for _ in range(calls))


def test_several_servers_take_turns(fake, other):
    with torchd.Client([fake.address, other.address], timeout=20) as client:
        harness.wait_until(lambda: len(counts(client, 2)) == 2, "both are connected")
        assert counts(client, 20) == {fake.address: 10, other.address: 10}


def test_a_server_that_does_not_serve_gets_no_calls(fake, other):
    with torchd.Client([fake.address, other.address], timeout=20) as client:
        harness.wait_until(lambda: len(counts(client, 2)) == 2, "both are connected")
        other.serve(False)
        harness.wait_until(lambda: counts(client, 2) == {fake.address: 2}, "the word is out")
        assert counts(client, 10) == {fake.address: 10}
        other.serve(True)
        harness.wait_until(lambda: len(counts(client, 2)) == 2, "it is back")


def test_a_lost_server_costs_nobody_an_answer(fake):
    with fake_server.serving() as lost:
        client = torchd.Client([fake.address, lost.address], timeout=20)
        harness.wait_until(lambda: len(counts(client, 2)) == 2, "both are connected")
    with client:
        assert counts(client, 20) == {fake.address: 20}


def test_health_is_told_as_it_changes(fake):
    with torchd.Client(fake.address) as client, client.watch_health() as states:
        following = iter(states)
        assert next(following) is torchd.Health.SERVING
        fake.serve(False)
        assert next(following) is torchd.Health.NOT_SERVING
        fake.serve(True)
        assert next(following) is torchd.Health.SERVING
