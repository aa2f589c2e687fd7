"""Who decides what is loaded (fixed, watch, explicit), which versions, and the three layouts."""

import json
import pathlib

import grpc
import pytest

import harness
import arrivals
import wire
from arrivals import (READY, SERVING, UNAVAILABLE, WATCH, add_version, archive, configure, serves,
                       state, versions, wait_ready, wait_reason)

PBTXT = """\
name: "triton"
platform: "pytorch_libtorch"
max_batch_size: 8
input [ { name: "x__0" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "y__0" data_type: TYPE_FP32 dims: [ 4 ] label_filename: "colours.txt" } ]
version_policy: { all { } }
instance_group [ { count: 2 kind: KIND_CPU } ]
dynamic_batching { max_queue_delay_microseconds: 100 }
"""
LABELS = ["red", "green", "blue", "grey"]


@pytest.fixture
def torchctl():
    def run(daemon, *arguments):
        done = harness.run_torchctl("--address", daemon.grpc, *arguments)
        done.out, done.err = done.stdout.decode(), done.stderr.decode()
        return done

    return run


def code_of(call, model: str):
    request = {"LoadModel": wire.admin.LoadModelRequest,
               "UnloadModel": wire.admin.UnloadModelRequest,
               "ReloadModel": wire.admin.ReloadModelRequest}[call._method.decode().split("/")[-1]]
    try:
        call(request(model=model), timeout=60)
    except grpc.RpcError as error:
        return error.code(), error.details()
    return grpc.StatusCode.OK, ""


def numbered(repository: pathlib.Path, name: str, count: int, **settings) -> None:
    for version in range(1, count + 1):
        add_version(repository, name, version, archive(version))
    configure(repository, name, **settings)


def ready(daemon, name: str) -> set:
    return {number for number, one in versions(daemon, name).items() if one.state == READY}


# --- Which versions. ---


@pytest.fixture(scope="module")
def policies(tmp_path_factory):
    repository = tmp_path_factory.mktemp("policies")
    numbered(repository, "default", 4)
    numbered(repository, "two", 4, versions={"latest": 2})
    numbered(repository, "all", 4, versions={"all": True})
    numbered(repository, "some", 4, versions={"specific": [1, 3, 9]})
    numbered(repository, "labelled", 4, versions={"latest": 1},
             version_labels={"stable": 2, "canary": 4, "future": 7})
    with harness.serving(tmp_path_factory.mktemp("daemon"), repository, *WATCH) as daemon:
        yield repository, daemon


@pytest.mark.parametrize(("model", "expected"), [
    ("default", {4}), ("two", {3, 4}), ("all", {1, 2, 3, 4}), ("some", {1, 3}),
    ("labelled", {2, 4}),
])
def test_policy_chooses_the_versions(policies, model, expected):
    _, daemon = policies
    assert ready(daemon, model) == expected
    for version in expected:
        serves(daemon, model, version, version, version=version)
    serves(daemon, model, max(expected), max(expected))
    for version in set(range(1, 5)) - expected:
        assert "version policy" in versions(daemon, model)[version].reason


def test_policy_changes_while_it_serves(policies):
    repository, daemon = policies
    numbered(repository, "changing", 3)
    harness.wait_until(lambda: ready(daemon, "changing") == {3}, "the latest")
    with arrivals.served_throughout(daemon, "changing", {1: 1, 2: 2, 3: 3}):
        configure(repository, "changing", versions={"all": True})
        harness.wait_until(lambda: ready(daemon, "changing") == {1, 2, 3}, "all")
        configure(repository, "changing", versions={"specific": [2]})
        harness.wait_until(lambda: ready(daemon, "changing") == {2}, "version 2 alone")


def test_labels_lead_to_versions(policies):
    _, daemon = policies
    serves(daemon, "labelled", 2, 2, version_label="stable")
    serves(daemon, "labelled", 4, 4, version_label="canary")
    assert list(versions(daemon, "labelled")[2].version_labels) == ["stable"]
    item = wire.row([0] * 4)
    unknown = daemon.refusal("labelled", item, version_label="nightly")
    assert unknown.code() == grpc.StatusCode.NOT_FOUND and "stable" in unknown.details()
    missing = daemon.refusal("labelled", item, version_label="future")
    assert missing.code() == grpc.StatusCode.NOT_FOUND and "7" in missing.details()
    both = daemon.refusal("labelled", item, version_label="stable", version=2)
    assert both.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_label_moves_on_under_callers(policies):
    repository, daemon = policies
    numbered(repository, "moving", 2, version_labels={"stable": 1})
    harness.wait_until(lambda: ready(daemon, "moving") == {1, 2}, "both")
    serves(daemon, "moving", 1, 1, version_label="stable")
    configure(repository, "moving", version_labels={"stable": 2})
    harness.wait_until(
        lambda: arrivals.answer(daemon, "moving", version_label="stable")[0] == 2, "the move")


def test_unknown_version_lists_those_that_exist(policies):
    _, daemon = policies
    error = daemon.refusal("all", wire.row([0] * 4), version=12)
    assert error.code() == grpc.StatusCode.NOT_FOUND and "1, 2, 3, 4" in error.details()


# --- Explicit. ---


def test_explicit_loads_what_is_asked_for(tmp_path, torchctl):
    repository, kept = tmp_path / "models", tmp_path / "state"
    for name in ("one", "two", "bad"):
        add_version(repository, name, 1, archive(1) if name != "bad" else b"bad")
    flags = ("--model-control", "explicit", "--state-file", kept)
    with harness.serving(tmp_path, repository, *flags) as daemon:
        assert ready(daemon, "one") == set() and daemon.get("/readyz")[0] == 200
        assert "nobody asked" in versions(daemon, "one")[1].reason
        assert torchctl(daemon, "load", "one").returncode == 0
        serves(daemon, "one", 1, 1)
        assert kept.read_text().splitlines()[1:] == ["one"]
        failed = torchctl(daemon, "load", "bad")
        assert failed.returncode != 0 and "version 1" in failed.err
        assert torchctl(daemon, "reload", "two").returncode != 0  # Not loaded.
        assert torchctl(daemon, "load", "two").returncode == 0
        assert torchctl(daemon, "unload", "bad").returncode == 0
        # New files count when somebody says so, under callers.
        with arrivals.served_throughout(daemon, "one", {1: 1, 2: 2}):
            add_version(repository, "one", 2, archive(2))
            assert torchctl(daemon, "load", "one").returncode == 0
            serves(daemon, "one", 2, 2)
            assert torchctl(daemon, "reload", "one").returncode == 0
        assert code_of(daemon.admin.LoadModel, "nobody")[0] == grpc.StatusCode.NOT_FOUND
        assert code_of(daemon.admin.LoadModel, "../x")[0] == grpc.StatusCode.INVALID_ARGUMENT
    with harness.serving(tmp_path, repository, *flags, code=-9) as daemon:  # After an orderly end.
        serves(daemon, "one", 2, 2)
        assert torchctl(daemon, "unload", "two").returncode == 0
        assert daemon.refusal("two", wire.row([0] * 4)).code() == grpc.StatusCode.UNAVAILABLE
        assert arrivals.health(daemon, "two") == arrivals.NOT_SERVING
        daemon.process.kill()
        daemon.asked_to_end = True
    with harness.serving(tmp_path, repository, *flags) as daemon:  # After a sudden one.
        serves(daemon, "one", 2, 2)
        assert ready(daemon, "two") == set()
        assert kept.read_text().splitlines()[1:] == ["one"]


@pytest.mark.parametrize("text", ["nonsense\n", "torchd loaded models 1\n../up\n"])
def test_damaged_state_file_stops_the_start(tmp_path, linear_repository, text):
    kept = tmp_path / "state"
    kept.write_text(text)
    done = harness.run_torchd(
        "--model-repository", linear_repository, "--grpc-address", "127.0.0.1:0",
        "--http-address", "127.0.0.1:0", "--model-control", "explicit", "--state-file", kept)
    assert done.returncode != 0 and str(kept) in done.stderr


# --- Watch. ---


def test_what_an_operator_loads_is_not_held_back_again(tmp_path, torchctl):
    """Settling held an older view than the operator's, and the next look put it back."""
    repository = tmp_path / "models"
    add_version(repository, "model", 1, archive(1))
    flags = ("--model-control", "watch", "--settle-ms", 600_000, "--poll-ms", 500)
    with harness.serving(tmp_path, repository, *flags) as daemon:
        add_version(repository, "model", 2, archive(2))
        assert torchctl(daemon, "load", "model").returncode == 0
        serves(daemon, "model", 2, 2)
        arrivals.replace(repository / "model/2/model.pt", archive(3))
        assert torchctl(daemon, "reload", "model").returncode == 0
        serves(daemon, "model", 2, 3)
        loads = daemon.log().count("model ready")
        (repository / "model.pt").touch()  # Once that shows, the watcher has looked.
        harness.wait_until(lambda: "is not honoured" in daemon.log(), "the next look")
        assert torchctl(daemon, "load", "model").returncode == 0  # Returns when all is settled.
        serves(daemon, "model", 2, 3)
        assert daemon.log().count("model ready") == loads


# --- The end. ---


def test_model_changes_are_unavailable_while_draining(tmp_path, torchctl):
    repository, kept = tmp_path / "models", tmp_path / "state"
    for name in ("one", "two"):
        add_version(repository, name, 1, archive(1))
    flags = ("--model-control", "explicit", "--state-file", kept, "--drain-delay-ms", 2000)
    with harness.serving(tmp_path, repository, *flags) as daemon:
        assert torchctl(daemon, "load", "one").returncode == 0
        daemon.terminate()
        harness.wait_until(lambda: daemon.status().draining, "the drain")
        for call, name in ((daemon.admin.LoadModel, "two"), (daemon.admin.ReloadModel, "one"),
                           (daemon.admin.UnloadModel, "one")):
            code, text = code_of(call, name)
            assert code == grpc.StatusCode.UNAVAILABLE and "the server is stopping" in text
        failed = torchctl(daemon, "load", "two")
        assert failed.returncode != 0 and "the server is stopping" in failed.err
        serves(daemon, "one", 1, 1)
    assert kept.read_text().splitlines()[1:] == ["one"]


def test_load_that_the_drain_cuts_short_is_unavailable(tmp_path):
    repository = tmp_path / "models"
    add_version(repository, "model", 1, archive(1))
    flags = ("--model-control", "explicit", "--drain-delay-ms", 2000)
    with harness.serving(tmp_path, repository, *flags) as daemon:
        arrivals.replace(repository / "model/1/model.pt", arrivals.endless())
        call = daemon.admin.LoadModel.future(wire.admin.LoadModelRequest(model="model"), timeout=60)
        harness.wait_until(lambda: len(arrivals.descendants(daemon.process.pid)) > 1, "a trial")
        daemon.terminate()
        error = call.exception(timeout=30)
        assert error.code() == grpc.StatusCode.UNAVAILABLE, error
        assert "the server is stopping" in error.details(), error


# --- Fixed. ---


def test_fixed_keeps_to_what_was_there(tmp_path, torchctl):
    repository = tmp_path / "models"
    add_version(repository, "model", 1, archive(1))
    with harness.serving(tmp_path, repository) as daemon:
        add_version(repository, "late", 1, archive(1))
        add_version(repository, "model", 2, archive(2))
        code, text = code_of(daemon.admin.LoadModel, "late")
        assert code == grpc.StatusCode.FAILED_PRECONDITION and "fixed" in text
        code, text = code_of(daemon.admin.UnloadModel, "model")
        assert code == grpc.StatusCode.FAILED_PRECONDITION and "explicit" in text
        refused = torchctl(daemon, "unload", "model")
        assert refused.returncode != 0 and "explicit" in refused.err
        serves(daemon, "model", 1, 1)
        assert "NOT_FOUND" in str(daemon.refusal("late", wire.row([0] * 4)).code())
        assert torchctl(daemon, "load", "model").returncode == 0  # One that was there may change.
        serves(daemon, "model", 2, 2)


# --- Layouts. ---


def test_triton_repository_is_served_unchanged(tmp_path, torchctl):
    repository = tmp_path / "models"
    for version in (1, 2):
        folder = repository / "triton" / str(version)
        folder.mkdir(parents=True)
        (folder / "model.pt").write_bytes(archive(version))
    (repository / "triton/config.pbtxt").write_text(PBTXT)
    (repository / "triton/colours.txt").write_text("\n".join(LABELS) + "\n")
    with harness.serving(tmp_path, repository, *WATCH) as daemon:
        assert ready(daemon, "triton") == {1, 2}
        got = daemon.classify("triton", wire.row([0, 0, 90, 0]), version=1, top_k=1)
        assert got.results[0].classes[0].label == "blue"
        notes = "\n".join(versions(daemon, "triton")[1].notes)
        assert "instance_group" in notes and "max_queue_delay_microseconds" not in notes
        assert versions(daemon, "triton")[1].scheduling.delay_us_max == 100
        shown = torchctl(daemon, "models")
        assert shown.returncode == 0 and "instance_group" in shown.out
        assert "instance_group" in json.dumps(json.loads(torchctl(daemon, "models", "--json").out))
        assert [one.name for one in versions(daemon, "triton")[1].inputs] == ["x__0"]


def test_kserve_folder_is_one_model(tmp_path):
    folder = tmp_path / "models"
    add_version(tmp_path / "made", "model", 1, archive(4))
    (tmp_path / "made/model/1/model.pt").rename(tmp_path / "made/model/model.pt")
    (tmp_path / "made/model/1").rmdir()
    (tmp_path / "made/model").rename(folder)
    with harness.serving(tmp_path, folder, *WATCH) as daemon:
        serves(daemon, "models", 1, 4)
        serves(daemon, "", 1, 4)
        arrivals.replace(folder / "model.pt", archive(5))
        harness.wait_until(lambda: arrivals.answer(daemon, "models")[1][0] == 5, "the change")
    with harness.serving(tmp_path, folder, "--model-name", "named") as daemon:
        serves(daemon, "named", 1, 5)


def test_links_that_leave_the_repository_are_refused(tmp_path):
    repository, outside = tmp_path / "models", tmp_path / "outside"
    add_version(outside, "model", 1, archive(1))
    add_version(repository, "good", 1, archive(1))
    add_version(repository, "file", 1, archive(1))
    (repository / "file/1/model.pt").unlink()
    (repository / "file/1/model.pt").symlink_to(outside / "model/1/model.pt")
    (repository / "folder").symlink_to(outside / "model")
    (repository / "version").mkdir()
    (repository / "version/1").symlink_to("../../outside/model/1")
    (repository / "inside").symlink_to("good")
    with harness.serving(tmp_path, repository, *WATCH) as daemon:
        for name, version in (("file", 1), ("folder", 0), ("version", 1)):
            reason = wait_reason(daemon, name, version)
            assert state(daemon, name, version) == UNAVAILABLE
            assert "leads out of the repository" in reason and name in reason
        serves(daemon, "good", 1, 1)
        serves(daemon, "inside", 1, 1)
        # Also one that comes while others are served.
        (repository / "good/2").symlink_to(outside / "model/1")
        assert "leads out" in wait_reason(daemon, "good", 2)
        serves(daemon, "good", 1, 1)


def test_one_broken_of_fifty(tmp_path):
    repository = tmp_path / "models"
    for number in range(50):
        data = archive(number) if number != 25 else b"broken"
        add_version(repository, f"model{number}", 1, data)
    with harness.serving(tmp_path, repository, "--warmup-runs", 1) as daemon:
        status = daemon.status()
        assert (status.versions_ready, status.versions_total) == (49, 50)
        for number in set(range(50)) - {25}:
            serves(daemon, f"model{number}", 1, number)
            assert arrivals.health(daemon, f"model{number}") == SERVING
        assert daemon.get("/readyz")[0] == 200 and daemon.get("/readyz/model25")[0] == 503
        assert arrivals.health(daemon, "model25") == arrivals.NOT_SERVING


def test_wait_ready_in_watch_mode_of_an_empty_repository(tmp_path):
    repository = tmp_path / "models"
    repository.mkdir()
    with harness.serving(tmp_path, repository, *WATCH) as daemon:
        assert daemon.get("/readyz")[0] == 200
        add_version(repository, "first", 1, archive(1))
        wait_ready(daemon, "first", 1)
        serves(daemon, "", 1, 1)
