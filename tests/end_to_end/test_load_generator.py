"""bench/load_generator: its numbers agree with each other, and with what is known of the server."""

import contextlib
import subprocess
import sys

import pytest

import harness
import wire

sys.path.insert(0, str(wire.ROOT / "bench"))

import load  # noqa: E402
import load_models  # noqa: E402

ECHO_SERVER = wire.ROOT / "build/release/echo_server"


@pytest.fixture(scope="module", name="daemon")
def _daemon(tmp_path_factory):
    folder = tmp_path_factory.mktemp("load")
    repository = folder / "models"
    load_models.add_tiny(repository)
    load_models.add_fixed_cost(repository, milliseconds=5)
    load_models.add_encoder(repository)
    with harness.serving(folder, repository) as daemon:
        yield daemon


@contextlib.contextmanager
def _echo_server():
    with subprocess.Popen([ECHO_SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as process:
        try:
            yield f"127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def test_a_closed_loop_keeps_its_calls_in_flight(daemon):
    in_flight = []
    for _ in range(3):  # A machine that stands still for a moment is not the generator's doing.
        found = load.run(daemon.grpc, ["fixed"], concurrency=4, seconds=2)["phases"][0]
        assert set(found["codes"]) == {"OK"}
        # Little's law.
        in_flight.append(found["ok_in_phase_per_second"] * found["ok_ms"]["mean"] / 1e3)
        if in_flight[-1] == pytest.approx(4, rel=0.1):
            return
    pytest.fail(f"in flight on average: {in_flight}")


def test_an_open_loop_sends_what_is_planned_whatever_comes_back(daemon):
    before = daemon.status()
    found = load.run(daemon.grpc, ["tiny"], phases=[(200, 1), (400, 1)], clients=3)
    after = daemon.status()
    sent = [phase["sent"] for phase in found["phases"]]
    assert sent[0] == pytest.approx(200, abs=60) and sent[1] == pytest.approx(400, abs=80)
    assert sum(found["series"]["ok_by_end"]) == sum(sent) == after.items_ok - before.items_ok
    for phase in found["phases"]:
        assert sum(client["sent"] for client in phase["clients"].values()) == phase["sent"]


def test_every_call_beyond_what_the_model_can_do_is_accounted_for(daemon):
    found = load.run(daemon.grpc, ["fixed"], phases=[(2000, 1)], deadline_ms=100,
                     in_flight_max=5)["phases"][0]
    assert found["not_sent"] > 0
    assert found["planned"] == found["sent"] + found["not_sent"] == pytest.approx(2000, abs=200)
    assert sum(found["codes"].values()) == found["sent"]
    assert found["goodput_per_second"] < 1200  # In runs of 8 rows, 10 ms each.


def test_an_echo_takes_part_in_the_mix(daemon):
    with _echo_server() as echo:
        found = load.run(daemon.grpc, ["encoder"], echo=echo, concurrency=1, seconds=1)
        alone = load.run(echo=echo, bytes=1000, concurrency=1, seconds=0.3)
    assert found["request_bytes"]["echo"] == found["request_bytes"]["encoder"] > 2 * 128 * 8
    models = found["phases"][0]["models"]
    assert models["echo"]["ok_ms"]["p50"] < models["encoder"]["ok_ms"]["p50"]
    assert alone["phases"][0]["codes"]["OK"] > 0


@pytest.mark.parametrize("model, words", [("none", "none"), ("", "--model")])
def test_without_a_run_it_says_why(daemon, model, words):
    with pytest.raises(RuntimeError, match=words):
        load.run(daemon.grpc, [model], concurrency=1, seconds=1)
