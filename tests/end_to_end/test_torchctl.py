"""The client as a user types it: tables, JSON, exit codes."""

import json
import socket

import pytest

import harness
import pictures
import small_models
import wire


@pytest.fixture
def torchctl(daemon):
    def run(*arguments, **options):
        done = harness.run_torchctl("--address", daemon.grpc, *arguments, **options)
        done.out, done.err = done.stdout.decode(), done.stderr.decode()
        return done

    return run


def classify(torchctl, *arguments, **options):
    return torchctl("classify", "--model", pictures.MODEL, *arguments, **options)


def test_classify_prints_a_table(torchctl, data):
    done = classify(torchctl, data / "cat.jpg")
    assert done.returncode == 0 and done.err == ""
    assert "cat.jpg" in done.out and "Egyptian cat" in done.out and "%" in done.out
    assert "execute" in done.out and "ms" in done.out


def test_readme_line_needs_no_model_on_the_demo(tmp_path, data):
    """`torchctl classify tests/data/cat.jpg`, as the first lines of the project promise."""
    with harness.serving(tmp_path, wire.ROOT / "build/demo-models") as own:
        done = harness.run_torchctl("classify", data / "cat.jpg",
                                    environment={"TORCHCTL_ADDRESS": own.grpc})
        assert done.returncode == 0 and b"cat" in done.stdout


def test_classify_json_equals_the_call(torchctl, daemon, data):
    done = classify(torchctl, "--json", "--top-k", 3, data / "cat.jpg", data / "coffee.jpg")
    assert done.returncode == 0
    shown = json.loads(done.out)
    assert [one["file"] for one in shown] == [str(data / "cat.jpg"), str(data / "coffee.jpg")]
    item = wire.image((data / "cat.jpg").read_bytes())
    called = daemon.classify(pictures.MODEL, item, top_k=3).results[0].classes
    for ours, theirs in zip(called, shown[0]["classes"], strict=True):
        assert (theirs["index"], theirs["label"]) == (ours.index, ours.label)
        assert theirs["probability"] == pytest.approx(ours.probability, abs=1e-5)
    assert shown[0]["model"] == pictures.MODEL and shown[0]["version"] == 1
    assert shown[0]["times_us"]["total"] >= shown[0]["times_us"]["execute"] > 0


def test_classify_says_what_becomes_of_scores(torchctl, data):
    """Each class for itself, and of those only what reaches the threshold."""
    def shown(*flags):
        done = classify(torchctl, "--json", *flags, data / "cat.jpg")
        assert done.returncode == 0, done.err
        return [one["probability"] for one in json.loads(done.out)[0]["classes"]]

    scores = shown("--activation", "none", "--top-k", 3)
    assert scores == shown("--no-softmax", "--top-k", 3)
    sigmoid = shown("--activation=sigmoid", "--top-k", 3)
    assert sigmoid == pytest.approx([1 / (1 + 2.718281828 ** -one) for one in scores], abs=1e-5)
    assert shown("--no-softmax", "--threshold", scores[1]) == scores[:2]
    assert shown("--threshold", "2") == []
    done = classify(torchctl, "--threshold", "2", data / "cat.jpg")
    assert done.returncode == 0 and "no class is left" in done.out


def test_classify_two_texts_as_one_input(torchctl, daemon):
    pair = wire.inference.ClassifyItem(text_pair={"first": "a cat", "second": "is it?"})
    called = daemon.classify(small_models.TEXT_MODEL, pair).results[0].classes
    done = torchctl("classify", "--model", small_models.TEXT_MODEL, "--json", "--text",
                    "--pair", "is it?", "a cat")
    assert done.returncode == 0, done.err
    assert [one["probability"] for one in json.loads(done.out)[0]["classes"]] == pytest.approx(
        [one.probability for one in called], abs=1e-6)
    assert torchctl("classify", "--pair", "b", "a").returncode == 2


def test_classify_many_files_in_order(torchctl, data):
    names = [data / f"{name}.jpg" for name in ("cat", "coffee", "rocket")] * 7
    done = classify(torchctl, "--json", "--top-k", 1, *names)
    assert done.returncode == 0, done.err
    labels = [one["classes"][0]["label"] for one in json.loads(done.out)]
    assert labels[1::3] == ["espresso"] * 7 and labels[2::3] == ["missile"] * 7


def test_classify_reads_stdin(torchctl, data):
    done = classify(torchctl, "--json", "-", stdin=(data / "coffee.jpg").read_bytes())
    assert done.returncode == 0
    assert json.loads(done.out)[0]["classes"][0]["label"] == "espresso"


def test_classify_text(torchctl):
    done = torchctl("classify", "--model", "sentiment", "--json", "--text", "I liked it", "Not me")
    assert done.returncode == 0, done.err
    for one in json.loads(done.out):
        assert {found["label"] for found in one["classes"]} == {"negative", "positive"}


def test_classify_at_each_priority(torchctl, data):
    for priority in ("high", "normal", "low"):
        done = classify(torchctl, "--json", "--top-k", 1, "--priority", priority, data / "coffee.jpg")
        assert done.returncode == 0, done.err
        (one,) = json.loads(done.out)
        assert one["classes"][0]["label"] == "espresso" and one["non_finite"] is False


def test_one_bad_file_of_several(torchctl, data, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"this is no photo")
    done = classify(torchctl, "--json", data / "coffee.jpg", bad)
    assert done.returncode == 1
    good, failed = json.loads(done.out)
    assert good["classes"][0]["label"] == "espresso"
    assert failed["error"]["code"] == "INVALID_ARGUMENT" and "JPEG" in failed["error"]["message"]


@pytest.mark.parametrize(("arguments", "code", "part"), [
    (("classify", "--model", "nobody", "CAT"), 1, "NOT_FOUND"),
    (("classify", "--model", pictures.MODEL, "--version", "9", "CAT"), 1, "NOT_FOUND"),
    (("models", "nobody"), 1, "NOT_FOUND"),
    (("classify", "/nowhere/photo.jpg"), 2, "/nowhere/photo.jpg"),
    (("classify", "--colour", "CAT"), 2, "--colour"),
    (("classify",), 2, ""),
    (("dance",), 2, "dance"),
    ((), 2, ""),
], ids=lambda value: " ".join(value) if isinstance(value, tuple) else None)
def test_exit_codes(torchctl, data, arguments, code, part):
    cat = str(data / "cat.jpg")
    done = torchctl(*(cat if one == "CAT" else one for one in arguments))
    assert done.returncode == code, done
    assert part in done.err and len(done.err.splitlines()) >= 1
    if code == 1:
        assert len(done.err.splitlines()) == 1


def test_text_must_be_utf8(torchctl):
    done = torchctl("classify", "--text", b"caf\xe9")
    assert done.returncode == 2
    assert done.err.splitlines() == [r"torchctl: INVALID_ARGUMENT: --text 'caf\xe9' is no UTF-8"], done


def test_nobody_there(data):
    with socket.socket() as bound:  # Bound but not listening: nobody else can take it meanwhile.
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        for command in (("classify", data / "cat.jpg"), ("models",), ("status",)):
            done = harness.run_torchctl("--address", address, *command)
            assert done.returncode == 3 and address.encode() in done.stderr, done


def test_models_table(torchctl):
    done = torchctl("models")
    assert done.returncode == 0
    for part in ("NAME", "STATE", "linear", "READY", "broken", "UNAVAILABLE", "model.pt"):
        assert part in done.out
    one = torchctl("models", "linear", "--json")
    listed = [(model["name"], model["version"]) for model in json.loads(one.out)]
    assert listed == [("linear", 1), ("linear", 2)]


# It said "no version is ready", with code 0.
def test_plan_of_what_is_not_ready_says_why(torchctl):
    for words in (("broken",), ("broken", "--json")):
        done = torchctl("plan", *words)
        assert (done.returncode, done.out) == (4, ""), done.out
        for part in ("UNAVAILABLE", "broken", "model.pt"):
            assert part in done.err, done.err
    (line,) = [line for line in torchctl("plan").out.splitlines() if line.startswith("broken ")]
    assert line.startswith("broken 1: UNAVAILABLE, ") and "model.pt" in line


def test_models_verbose_shows_how_rows_wait_and_run(torchctl):
    done = torchctl("models", "sentiment", "--verbose")
    assert done.returncode == 0, done.err
    for part in ("rows in a run", "0 now, at most 256", "wait for company", "texts padded to",
                 "MS PER ROW"):
        assert part in done.out, done.out
    assert "rows in a run" not in torchctl("models").out
    shown = json.loads(torchctl("models", "--json").out)
    of = {(one["name"], one["version"]): one["scheduling"] for one in shown}
    assert of["broken", 1] is None
    text = of["sentiment", 1]
    assert text["buckets"][0] == 1 and text["buckets"][-1] == text["rows_per_batch_max"]
    assert text["costs"][0]["mean_us"] > 0 and text["costs"][0]["runs"] >= 1
    assert text["non_finite"] == "error" and text["ageing_ms"] == 1000


def test_owner_is_told_that_rows_run_one_by_one(tmp_path):
    """In the listing, among the notes that everybody sees, and in the log."""
    repository = tmp_path / "models"
    small_models.add_crowd(repository)
    with harness.serving(tmp_path, repository) as own:
        def models(*flags):
            return harness.run_torchctl("--address", own.grpc, "models", *flags).stdout.decode()

        assert "crowd: rows run one by one: " in models()
        (crowd,) = json.loads(models("--json"))
        assert crowd["scheduling"]["note"].startswith("rows run one by one: ")
        assert crowd["notes"] == [crowd["scheduling"]["note"]]
        assert crowd["scheduling"]["buckets"] == [1]
        (line,) = [line for line in own.log().splitlines() if "model note" in line]
        assert "WARNING" in line and "rows run one by one: " in line


def test_status(torchctl):
    shown = json.loads(torchctl("status", "--json").out)
    assert (shown["versions_ready"], shown["versions_total"]) == (6, 7)
    table = torchctl("status")
    assert table.returncode == 0 and shown["version"] in table.out and "cpu" in table.out
