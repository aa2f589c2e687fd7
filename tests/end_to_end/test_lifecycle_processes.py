"""Executors that are stuck, helpers that die, and what a daemon leaves behind."""

import pathlib
import threading
import time

import pytest
import torch

import arrivals
import harness
import mutants
import wire
from arrivals import (NOT_SERVING, SERVING, UNAVAILABLE, WATCH, add_version, archive, serves,
                       state, wait_ready, wait_reason)

SLOW_ROUNDS = 1_000_000  # Of the slow model: some seconds.
SLOW_MATRICES = 1000  # Rounds of a marked model: seconds as well.
CRASHING_SEED = 174  # Its tensor has no bytes: running it reads address 0.


def test_stuck_executor_shows_and_recovers(tmp_path, slow_repository):
    with harness.serving(tmp_path, slow_repository, "--stuck-seconds", 1) as daemon:
        assert arrivals.health(daemon, "slow") == SERVING
        rounds = SLOW_ROUNDS
        call = daemon.inference.Classify.future(
            wire.request("slow", wire.row([rounds])), timeout=60)
        for service in ("slow", "", "torchd.v1.InferenceService"):
            harness.wait_until(lambda one=service: arrivals.health(daemon, one) == NOT_SERVING,
                               f"NOT_SERVING of {service!r}")
        assert not call.done()
        code, text = daemon.get("/readyz")
        assert code == 503 and "busy" in text
        assert daemon.get("/readyz/slow")[0] == 503 and daemon.get("/livez")[0] == 200
        assert call.result(timeout=60).version == 1
        for service in ("slow", "", "torchd.v1.InferenceService"):
            harness.wait_until(lambda one=service: arrivals.health(daemon, one) == SERVING,
                               f"SERVING of {service!r}")
        assert daemon.get("/readyz")[0] == 200 and daemon.get("/readyz/slow")[0] == 200


def test_nothing_is_left_after_the_end(tmp_path):
    repository = tmp_path / "models"
    add_version(repository, "model", 1, archive(1))
    with harness.serving(tmp_path, repository, *WATCH) as daemon:
        below = arrivals.descendants(daemon.process.pid)
        assert below, "no helper"
    assert arrivals.have_ended(below)


def test_nothing_is_left_when_it_ends_during_a_trial(tmp_path):
    repository = tmp_path / "models"
    add_version(repository, "model", 1, archive(1))
    with harness.serving(tmp_path, repository, *WATCH, "--drain-limit-ms", 1000) as daemon:
        add_version(repository, "model", 2, arrivals.endless())
        below = harness.wait_until(lambda: len(found := arrivals.descendants(daemon.process.pid))
                                   > 1 and found, "a trial")
    # It did not wait beyond the limit; the kernel ends them with it, a moment later.
    harness.wait_until(lambda: arrivals.have_ended(below), "the end of all below it", 5)


def test_helper_and_trial_die_with_a_killed_daemon(tmp_path):
    repository = tmp_path / "models"
    add_version(repository, "model", 1, archive(1))
    with harness.serving(tmp_path, repository, *WATCH, code=-9) as daemon:
        add_version(repository, "model", 2, arrivals.endless())
        below = harness.wait_until(lambda: len(found := arrivals.descendants(daemon.process.pid))
                                   > 1 and found, "a trial")
        daemon.process.kill()
        harness.wait_until(lambda: arrivals.have_ended(below), "the end of all below it", 5)
        daemon.asked_to_end = True


def test_killed_helper_is_replaced(tmp_path):
    repository = tmp_path / "models"
    add_version(repository, "model", 1, archive(1))
    with harness.serving(tmp_path, repository, *WATCH) as daemon:
        with arrivals.served_throughout(daemon, "model", {1: 1, 2: 2}):
            killed = arrivals.helper(daemon)
            arrivals.kill(killed)
            add_version(repository, "model", 2, archive(2))
            wait_ready(daemon, "model", 2)
        assert arrivals.helper(daemon) != killed
        assert "Z" not in arrivals.children(daemon.process.pid).values()


def test_hanging_trials_hold_nobody_up(tmp_path):
    """Two archives that hung took both loading threads for as long as a trial may last."""
    repository = tmp_path / "models"
    add_version(repository, "model", 1, archive(1))
    with harness.serving(tmp_path, repository, *WATCH, "--drain-limit-ms", 1000) as daemon:
        for name in ("a-hangs", "b-hangs"):
            add_version(repository, name, 1, arrivals.endless())
        harness.wait_until(lambda: len(arrivals.descendants(daemon.process.pid)) > 2, "two trials")
        for number in range(3):
            add_version(repository, f"good{number}", 1, archive(number))
        for number in range(3):
            wait_ready(daemon, f"good{number}", 1)
            serves(daemon, f"good{number}", 1, number)
        for name in ("a-hangs", "b-hangs"):
            assert state(daemon, name, 1) == wire.admin.VERSION_STATE_LOADING


def test_helper_killed_during_a_trial_costs_a_retry(tmp_path):
    """What the trial was about is not to blame, so it is tried again without a change."""
    repository = tmp_path / "models"
    add_version(repository, "model", 1, archive(1))
    with harness.serving(tmp_path, repository, *WATCH, "--trial-seconds-max", 3) as daemon:
        add_version(repository, "model", 2, arrivals.endless())
        harness.wait_until(lambda: len(arrivals.descendants(daemon.process.pid)) > 1, "a trial")
        arrivals.kill(arrivals.helper(daemon))
        assert "helper process died" in wait_reason(daemon, "model", 2)
        arrivals.replace(repository / "model/2/model.pt", archive(2))
        wait_ready(daemon, "model", 2)
        serves(daemon, "model", 2, 2)


def test_archive_that_changes_during_its_trial(tmp_path):
    """What was tried is what is loaded, or nothing is."""
    repository = tmp_path / "models"
    add_version(repository, "model", 1, archive(1))
    with harness.serving(tmp_path, repository, *WATCH) as daemon:
        add_version(repository, "model", 2, archive(2, SLOW_MATRICES))
        harness.wait_until(lambda: len(arrivals.descendants(daemon.process.pid)) > 1, "a trial")
        time.sleep(0.7)  # It has read the archive and runs the model.
        arrivals.replace(repository / "model/2/model.pt", mutants.mutant(archive(3), CRASHING_SEED))
        harness.wait_until(lambda: "model unavailable" in daemon.log()
                           or daemon.process.poll() is not None, "the refusal", 60)
        assert daemon.process.poll() is None, "the daemon died of it"
        serves(daemon, "model", 2, 2)


def test_memory_budget_is_checked_before_loading(tmp_path):
    """A model that does not fit is refused with its need; the others serve."""
    repository = tmp_path / "models"
    add_version(repository, "small", 1, archive(1))
    with harness.serving(tmp_path, repository, *WATCH, "--memory-mb-max", 64) as daemon:
        serves(daemon, "small", 1, 1)
        add_version(repository, "large", 1, archive(2) + bytes(64 << 20))
        assert "memory_mb_max" in wait_reason(daemon, "large", 1)
        assert state(daemon, "large", 1) == UNAVAILABLE
        serves(daemon, "small", 1, 1)


class Rows(torch.nn.Module):
    """A table of `mebibytes`; its ids choose rows."""

    def __init__(self, mebibytes: int):
        super().__init__()
        self.table = torch.nn.Embedding(mebibytes << 11, 128)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.table(ids)[:, 0, :4]


def anonymous_bytes(daemon) -> int:
    status = pathlib.Path(f"/proc/{daemon.process.pid}/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) << 10


def test_memory_is_counted_as_it_is_taken(tmp_path):
    """A trial's memory was counted without the 30 MiB of libraries that its parent had read."""
    repository, models = tmp_path / "models", 6
    add_version(repository, "first", 1, archive(1))
    table = arrivals.saved(Rows(16))
    with harness.serving(tmp_path, repository, *WATCH) as daemon:
        serves(daemon, "first", 1, 1)
        before = anonymous_bytes(daemon)
        for number in range(models):
            (repository / f"table{number}").mkdir()
            arrivals.configure(repository, f"table{number}", inputs=[
                {"name": "ids", "data_type": "int64", "shape": [4]}])
            add_version(repository, f"table{number}", 1, table)
        for number in range(models):
            wait_ready(daemon, f"table{number}", 1)
        counted = sum(arrivals.versions(daemon, f"table{number}")[1].memory_bytes
                      for number in range(models))
        grew = anonymous_bytes(daemon) - before
    assert counted >= models * len(table)
    assert 0.7 * grew <= counted <= 1.3 * grew, (counted, grew)


def test_loads_side_by_side_with_calls_of_admins(tmp_path):
    """Ten models reloaded by ten operators at once, under callers."""
    repository = tmp_path / "models"
    for number in range(10):
        add_version(repository, f"model{number}", 1, archive(number))
    with harness.serving(tmp_path, repository, *WATCH) as daemon:
        failed = []

        def reload(name):
            try:
                daemon.admin.ReloadModel(wire.admin.ReloadModelRequest(model=name), timeout=60)
            except Exception as error:  # The thread's end is not the test's.
                failed.append(error)

        threads = [threading.Thread(target=reload, args=(f"model{n}",)) for n in range(10)]
        with arrivals.served_throughout(daemon, "model3", {1: 3}):
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert not failed, failed
