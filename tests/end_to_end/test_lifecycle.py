"""Versions that arrive, change, fail and go while callers go on."""

import random
import re
import time

import pytest

import harness
import arrivals
import mutants
from arrivals import (READY, SERVING, UNAVAILABLE, WATCH, add_version, archive, serves,
                       served_throughout, state, versions, wait_ready, wait_reason)


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A repository and the daemon that watches it; each test has a model of its own."""
    repository = tmp_path_factory.mktemp("watched")
    add_version(repository, "always", 1, archive(7))
    with harness.serving(tmp_path_factory.mktemp("daemon"), repository, *WATCH, "--warmup-runs", 1,
                         "--trial-memory-mb-max", 256) as daemon:
        yield repository, daemon


@pytest.fixture
def model(watched, request):
    """Version 1 of a new model, serving."""
    repository, daemon = watched
    name = re.sub(r"\W", "_", request.node.name)
    add_version(repository, name, 1, archive(1))
    wait_ready(daemon, name, 1)
    return name


def test_newcomer_takes_over_without_a_failed_call(watched, model):
    repository, daemon = watched
    with served_throughout(daemon, model, {1: 1, 2: 2, 3: 3}) as callers:
        for version in (2, 3):
            add_version(repository, model, version, archive(version))
            wait_ready(daemon, model, version)
            harness.wait_until(lambda: callers.answers[-1] == version, "answers of the newcomer")
        # The policy's default: the latest one.
        harness.wait_until(lambda: state(daemon, model, 1) != READY, "the old one's end")
    assert set(callers.answers) == {1, 2, 3}
    refused = daemon.refusal(model, *[arrivals.wire.row([0] * 4)], version=1)
    assert "UNAVAILABLE" in str(refused.code())


def test_version_that_is_being_copied_waits(watched, model):
    """It grows for longer than settle_ms, and nobody looks into it before it is complete."""
    repository, daemon = watched
    data = archive(2)
    folder = repository / model / "2"
    folder.mkdir()
    with served_throughout(daemon, model, {1: 1, 2: 2}):
        with open(folder / "model.pt", "wb", buffering=0) as file:
            for part in range(20):
                file.write(data[part * len(data) // 20:(part + 1) * len(data) // 20])
                time.sleep(0.05)
                assert state(daemon, model, 2) is None
        wait_ready(daemon, model, 2)
    assert f"model={model} version=2" not in "".join(
        line for line in daemon.log().splitlines() if "unavailable" in line)


def test_copy_that_stalls_fails_and_loads_once_complete(watched, model):
    repository, daemon = watched
    data = archive(2)
    folder = repository / model / "2"
    folder.mkdir()
    with served_throughout(daemon, model, {1: 1, 2: 2}):
        with open(folder / "model.pt", "wb", buffering=0) as file:
            file.write(data[:len(data) // 2])
            wait_reason(daemon, model, 2)
            assert state(daemon, model, 1) == READY
            file.write(data[len(data) // 2:])
        wait_ready(daemon, model, 2)


def broken(kind: str) -> bytes:
    data = archive(2)
    if kind == "truncated":
        return data[:-100]
    if kind == "empty":
        return b""
    if kind == "random":
        return random.Random(1).randbytes(5000)
    if kind == "flipped":  # In the directory's signature: one bit that always matters.
        at = data.rindex(mutants.END)
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]
    return mutants.bomb(data, 400 << 20)


@pytest.mark.parametrize("kind", ["truncated", "empty", "random", "flipped", "bomb"])
def test_broken_newcomer_costs_a_reason(watched, model, kind):
    repository, daemon = watched
    with served_throughout(daemon, model, {1: 1}):
        add_version(repository, model, 2, broken(kind))
        reason = wait_reason(daemon, model, 2)
        found = versions(daemon, model)
        assert found[2].state == UNAVAILABLE and len(reason) > 10, found[2]
        assert found[1].state == READY and not found[1].reason
        assert daemon.get(f"/readyz/{model}")[0] == 200 and daemon.get("/readyz")[0] == 200
        assert arrivals.health(daemon, model) == SERVING
    # Mended, it loads, and so the old one goes.
    arrivals.replace(repository / model / "2/model.pt", archive(2))
    wait_ready(daemon, model, 2)
    serves(daemon, model, 2, 2)
    assert not versions(daemon, model)[2].reason


def test_reason_is_shown_everywhere(watched, model):
    repository, daemon = watched
    add_version(repository, model, 2, b"nothing")
    reason = wait_reason(daemon, model, 2)
    shown = harness.run_torchctl("--address", daemon.grpc, "models")
    assert shown.returncode == 0 and reason[:40] in shown.stdout.decode()
    assert reason[:40].encode() in harness.run_torchctl(
        "--address", daemon.grpc, "models", "--json").stdout
    lines = [line for line in daemon.log().splitlines() if "model unavailable" in line]
    assert any(model in line and reason[:40] in line for line in lines), lines[-3:]
    metric = daemon.get("/metrics")[1]
    assert re.search(rf'model="{model}".*version="2"', metric), "no metric names it"


def test_changed_files_replace_the_same_version(watched, model):
    repository, daemon = watched
    with arrivals.Callers(daemon, model, {1: 1}) as old:
        harness.wait_until(lambda: old.answers, "an answer")
        arrivals.replace(repository / model / "1/model.pt", archive(5))
        harness.wait_until(lambda: arrivals.answer(daemon, model)[1][0] == 5, "the new answers")
    # Each answer was the old one's or the new one's, whole.
    assert all("version 1 answered [ 5. 50.  0.  1.]" in one or "5." in one and "50." in one
               for one in old.errors), old.errors[:3]
    assert state(daemon, model, 1) == READY


def test_changed_files_that_do_not_load_leave_the_old_copy(watched, model):
    repository, daemon = watched
    with served_throughout(daemon, model, {1: 1}):
        arrivals.replace(repository / model / "1/model.pt", b"nonsense")
        reason = wait_reason(daemon, model, 1)
        assert "changed files" in reason and state(daemon, model, 1) == READY
        arrivals.replace(repository / model / "1/model.pt", archive(1))
        harness.wait_until(lambda: not versions(daemon, model)[1].reason, "no reason any more")


def test_deleted_version_gives_way_to_the_one_before(watched, model):
    repository, daemon = watched
    add_version(repository, model, 2, archive(2))
    wait_ready(daemon, model, 2)
    with served_throughout(daemon, model, {1: 1, 2: 2}) as callers:
        arrivals.remove(repository / model / "2")
        harness.wait_until(lambda: callers.answers[-1] == 1, "answers of the older one")
        harness.wait_until(lambda: list(versions(daemon, model)) == [1], "only version 1")


def test_deleted_model_is_gone(watched, model):
    repository, daemon = watched
    assert arrivals.health(daemon, model) == SERVING
    arrivals.remove(repository / model)
    harness.wait_until(lambda: not versions(daemon, model), "its end")
    assert "NOT_FOUND" in str(daemon.refusal(model, arrivals.wire.row([0] * 4)).code())
    assert daemon.get(f"/readyz/{model}")[0] == 404
    assert arrivals.health(daemon, model) in (None, arrivals.NOT_SERVING)
    assert daemon.get("/readyz")[0] == 200


def test_model_whose_first_version_fails(watched):
    repository, daemon = watched
    add_version(repository, "hopeless", 1, b"")
    wait_reason(daemon, "hopeless", 1)
    code, text = daemon.get("/readyz/hopeless")
    assert code == 503 and "hopeless" in text
    assert arrivals.health(daemon, "hopeless") == arrivals.NOT_SERVING
    assert daemon.get("/readyz")[0] == 200 and arrivals.health(daemon, "") == SERVING
    arrivals.replace(repository / "hopeless/1/model.pt", archive(1))
    wait_ready(daemon, "hopeless", 1)
    assert daemon.get("/readyz/hopeless")[0] == 200
    assert arrivals.health(daemon, "hopeless") == SERVING


def test_trial_has_limits(tmp_path):
    """A forward() without an end, one that wants all memory: each costs a reason."""
    repository = tmp_path / "models"
    for name in ("endless", "greedy"):
        add_version(repository, name, 1, archive(1))
    # Two seconds: the good ones have to make it on a busy machine.
    with harness.serving(tmp_path, repository, *WATCH, "--trial-seconds-max", 2,
                         "--trial-memory-mb-max", 512) as daemon:
        with served_throughout(daemon, "greedy", {1: 1}):
            add_version(repository, "endless", 2, arrivals.endless())
            add_version(repository, "greedy", 2, arrivals.greedy())
            assert "2000 ms" in wait_reason(daemon, "endless", 2)
            assert "memory" in wait_reason(daemon, "greedy", 2)
        serves(daemon, "endless", 1, 1)
        assert "Z" not in arrivals.children(daemon.process.pid).values()


def test_mutants_leave_the_daemon_alive(watched):
    """bench/lifecycle.py has ten thousand of them."""
    repository, daemon = watched
    seeds = range(42)
    with served_throughout(daemon, "always", {1: 7}):
        for seed in seeds:
            add_version(repository, f"mutant-{seed}", 1, mutants.mutant(archive(3), seed))
        for seed in seeds:
            harness.wait_until(
                lambda one=seed: state(daemon, f"mutant-{one}", 1) in (READY, UNAVAILABLE),
                f"the end of mutant {seed}")
    for seed in seeds:
        found = versions(daemon, f"mutant-{seed}")[1]
        assert found.state == READY or found.reason, found
        arrivals.remove(repository / f"mutant-{seed}")
    assert "Z" not in arrivals.children(daemon.process.pid).values()
