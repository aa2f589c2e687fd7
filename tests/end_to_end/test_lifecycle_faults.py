"""What goes wrong around the models: mistakes in configurations, folders that cannot be read, strays,
a disk that is away, a restart at the wrong moment. What serves serves on, and the reason shows."""

import harness
import arrivals
from arrivals import (NOT_SERVING, SERVING, WATCH, add_version, archive, configure, serves,
                       served_throughout, state, versions, wait_ready, wait_reason)


def agree(daemon, status: int) -> bool:
    """The two words on the whole server."""
    health = SERVING if status == 200 else NOT_SERVING
    return daemon.get("/readyz")[0] == status and arrivals.health(daemon, "") == health


def test_health_and_readyz_agree_when_all_have_to_be_ready(tmp_path):
    repository = tmp_path / "models"
    add_version(repository, "good", 1, archive(1))
    add_version(repository, "bad", 1, b"broken")
    with harness.serving(tmp_path, repository, *WATCH, "--ready-when", "all_ready") as daemon:
        assert agree(daemon, 503)
        arrivals.remove(repository / "bad")
        harness.wait_until(lambda: agree(daemon, 200), "its end")
        add_version(repository, "bad", 1, b"broken")
        wait_reason(daemon, "bad", 1)
        harness.wait_until(lambda: agree(daemon, 503), "word of it")
        arrivals.replace(repository / "bad/1/model.pt", archive(1))
        wait_ready(daemon, "bad", 1)
        harness.wait_until(lambda: agree(daemon, 200), "word of it")


def test_nobody_notices_what_goes_wrong_around_a_model(tmp_path):
    repository, away = tmp_path / "models", tmp_path / "away"
    away.mkdir()
    for number in (1, 2):
        add_version(repository, "model", number, archive(number))
    add_version(repository, "other", 1, archive(3))
    configure(repository, "model", versions={"all": True}, version_labels={"stable": 1})
    with harness.serving(tmp_path, repository, *WATCH) as daemon:
        with served_throughout(daemon, "model", {2: 2}), served_throughout(daemon, "other", {1: 3}):
            (repository / "model/model.yaml").write_text("versions: {all: treu}\n")
            assert "model.yaml" in wait_reason(daemon, "model", 1)
            serves(daemon, "model", 1, 1, version_label="stable")
            configure(repository, "model", versions={"all": True}, version_labels={"stable": 9})
            harness.wait_until(lambda: any("until version 9 serves" in note for note in
                                           versions(daemon, "model")[1].notes), "a note")
            serves(daemon, "model", 1, 1, version_label="stable")
            (repository / "model.pt").symlink_to("nowhere")
            harness.wait_until(lambda: "is not honoured" in daemon.log(), "word of the stray")
            (repository / "model").rename(away / "model")
            (repository / "model").symlink_to(away / "model")
            assert "leads out" in wait_reason(daemon, "model", 0)
            (repository / "model").unlink()
            (away / "model").rename(repository / "model")
            harness.wait_until(lambda: 0 not in versions(daemon, "model"), "the folder")
            (repository / "model.pt").unlink()
            for name in ("model", "other"):
                (repository / name).rename(away / name)
            harness.wait_until(lambda: "is empty all at once" in daemon.log(), "word of the disk")
            for name in ("model", "other"):
                (away / name).rename(repository / name)
            add_version(repository, "last", 1, archive(4))
            wait_ready(daemon, "last", 1)


def test_restart_while_the_newest_version_is_broken(tmp_path):
    repository = tmp_path / "models"
    add_version(repository, "model", 1, archive(1))
    add_version(repository, "model", 2, b"half of it")
    with harness.serving(tmp_path, repository, *WATCH) as daemon:
        assert daemon.get("/readyz/model")[0] == 200
        serves(daemon, "model", 1, 1)
        assert any("stands in for version 2" in note for note in versions(daemon, "model")[2].notes)
        with served_throughout(daemon, "model", {1: 1, 2: 2}):
            arrivals.replace(repository / "model/2/model.pt", archive(2))
            wait_ready(daemon, "model", 2)
        harness.wait_until(lambda: state(daemon, "model", 1) == arrivals.UNAVAILABLE, "its end")
