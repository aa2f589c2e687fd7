"""What a model says of its input must be true: each promise is tried."""

import io
import json
import shlex

import grpc
import PIL.Image
import pytest

import harness
import pictures
import small_models
import wire


def torchctl(daemon, *arguments, **options):
    done = harness.run_torchctl("--address", daemon.grpc, *arguments, **options)
    done.out, done.err = done.stdout.decode(), done.stderr.decode()
    return done


@pytest.fixture
def photos(daemon) -> dict:
    return json.loads(torchctl(daemon, "explain-input", pictures.MODEL, "--json").out)


@pytest.mark.parametrize("encoding", ["jpeg", "png", "webp", "gif", "bmp", "tiff"])
def test_formats_are_those_that_are_taken(daemon, data, photos, encoding):
    buffer = io.BytesIO()
    PIL.Image.open(data / "coffee.jpg").save(buffer, encoding)
    item = wire.image(buffer.getvalue())
    if encoding in photos["image"]["formats"]:
        assert daemon.classify(pictures.MODEL, item).results[0].classes[0].label == "espresso"
    else:
        error = daemon.refusal(pictures.MODEL, item)
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_the_numbers_are_those_of_the_configuration(photos):
    assert photos["image"] | {"formats": []} == {
        "formats": [], "preset": "imagenet-0.5", "resize": 256, "crop": 224, "filter": "bilinear",
        "antialias": True, "layout": "chw", "data_type": "float32",
        "scale": pytest.approx(1 / 255), "mean": [0.5] * 3, "std": [0.5] * 3}
    assert photos["text"] is None and photos["labels"] == 1000
    assert photos["activation"] == "softmax" and photos["threshold"] is None
    assert photos["inputs"] == [{"name": "image", "data_type": "float32", "shape": [3, 224, 224]}]


def examples(text: str) -> list[list[str]]:
    return [shlex.split(line.split("$ ")[1]) for line in text.splitlines() if "$ " in line]


def test_the_example_for_an_image_runs(daemon, data, tmp_path):
    done = torchctl(daemon, "explain-input", pictures.MODEL)
    assert done.returncode == 0 and "imagenet-0.5" in done.out and "224x224" in done.out
    ((_, *words),) = examples(done.out)
    words[words.index("photo.jpg")] = data / "cat.jpg"
    assert "cat" in torchctl(daemon, *words).out


def test_the_example_for_a_text_runs(daemon):
    done = torchctl(daemon, "explain-input", small_models.TEXT_MODEL)
    (_, *one), (_, *two) = examples(done.out)
    assert "positive" in torchctl(daemon, *one).out
    assert "--pair" in two and "positive" in torchctl(daemon, *two).out


@pytest.mark.parametrize("model", ["linear", "two", pictures.MODEL])
def test_the_example_for_tensors_runs(daemon, model):
    import numpy  # noqa: F401  The example is written with it.
    import torchd  # noqa: F401

    (line,) = [line for line in torchctl(daemon, "explain-input", model).out.splitlines()
               if ">>>" in line]
    code = line.split(">>> ")[1].replace("torchd.Client()", f"torchd.Client({daemon.grpc!r})")
    assert eval(code).model == model


def test_what_cannot_be_explained(daemon):
    for words, code, part in [((), 1, "name one of"), (("nobody",), 1, "NOT_FOUND"),
                              (("broken",), 4, "UNAVAILABLE"),
                              (("linear", "--version", "9"), 1, "no version 9")]:
        done = torchctl(daemon, "explain-input", *words)
        assert done.returncode == code and part in done.err, done
    assert "linear version 1" in torchctl(daemon, "explain-input", "linear", "--version", 1).out
