"""The Python client against the real daemon, for threads and for asyncio."""

import asyncio
import io
import pathlib
import threading
import time

import grpc
import numpy as np
import PIL.Image
import pytest
import torchd

import harness
import pictures
import small_models


@pytest.fixture(scope="module", params=["threads", "asyncio"])
def ask(request, daemon):
    """`ask(method, ..., client options)` on either client."""
    def threads(method, *arguments, options=None, **named):
        with torchd.Client(daemon.grpc, **(options or {})) as client:
            return getattr(client, method)(*arguments, **named)

    def on_a_loop(method, *arguments, options=None, **named):
        async def call():
            async with torchd.AsyncClient(daemon.grpc, **(options or {})) as client:
                return await getattr(client, method)(*arguments, **named)

        return asyncio.run(call())

    return threads if request.param == "threads" else on_a_loop


def classify(ask, inputs, model=pictures.MODEL, **named):
    return ask("classify", inputs, model=model, **named)


def as_png(path: pathlib.Path, mode: str) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.open(path).convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def test_an_image_in_each_of_its_forms(ask, data):
    path = data / "coffee.jpg"
    forms = [path, path.read_bytes(), bytearray(path.read_bytes()), memoryview(path.read_bytes()),
             PIL.Image.open(path), PIL.Image.open(path).convert("RGBA"),
             PIL.Image.open(path).convert("CMYK")]
    for form in forms:
        answer = classify(ask, form, top_k=2)
        assert answer.top.label == "espresso" and len(answer.classes) == 2, form
        assert (answer.model, answer.version, answer.error) == (pictures.MODEL, 1, None)
        assert answer.times.total >= answer.times.execute > 0


def test_a_pil_image_arrives_as_it_is(ask, daemon, data):
    sent = classify(ask, PIL.Image.open(data / "cat.jpg").convert("L"), top_k=3)
    same = classify(ask, as_png(data / "cat.jpg", "L"), top_k=3)
    assert [(one.index, one.probability) for one in sent.classes] == pytest.approx(
        [(one.index, one.probability) for one in same.classes], abs=1e-6)


def same(one, other) -> None:
    assert [found.index for found in one.classes] == [found.index for found in other.classes]
    assert [found.probability for found in one.classes] == pytest.approx(
        [found.probability for found in other.classes], abs=1e-5)


def test_a_pil_image_is_turned_as_its_file_is(ask, data):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # To be turned by a quarter.
    file = io.BytesIO()
    PIL.Image.open(data / "rocket.jpg").save(file, "PNG", exif=exif)
    from_file = classify(ask, file.getvalue(), top_k=5)
    same(classify(ask, PIL.Image.open(file), top_k=5), from_file)
    upright = classify(ask, PIL.Image.open(data / "rocket.jpg"), top_k=5)
    assert [one.index for one in upright.classes] != [one.index for one in from_file.classes]


@pytest.mark.parametrize(("mode", "like"), [("RGBa", "RGBA"), ("La", "LA"), ("PA", "RGBA")])
def test_a_pil_image_keeps_its_transparency(ask, data, mode, like):
    photo = PIL.Image.open(data / "coffee.jpg").convert("RGB").resize((300, 300))
    if mode == "PA":
        photo = photo.quantize(64)
        image = photo.convert("PA")
    else:
        image = photo.convert(like)
    image.putalpha(PIL.Image.linear_gradient("L").resize(image.size))
    expected = image.convert(like)
    if mode != "PA":
        image = image.convert(mode)
        expected = image.convert(like)
    assert image.mode == mode
    opaque = classify(ask, photo.convert("RGB"), top_k=5)
    sent = classify(ask, image, top_k=5)
    same(sent, classify(ask, expected, top_k=5))
    assert sent.classes != opaque.classes


def test_a_picture_as_an_array_is_told_what_to_do(ask):
    with pytest.raises(torchd.InvalidInput, match=r"uint8 \[224,224,3\].*PIL.Image.fromarray"):
        classify(ask, np.zeros((300, 400, 3), np.uint8))
    picture = np.zeros((224, 224, 3), np.uint8)
    same(classify(ask, picture), classify(ask, np.moveaxis(picture, 2, 0)))


def test_two_texts_as_one_input(ask, daemon):
    def wanted(first, second):
        request = torchd.v1.inference_pb2.ClassifyRequest(model=small_models.TEXT_MODEL)
        request.items.add().text_pair.MergeFrom(
            torchd.v1.inference_pb2.TextPair(first=first, second=second))
        with grpc.insecure_channel(daemon.grpc) as channel:
            call = channel.unary_unary(
                "/torchd.v1.InferenceService/Classify",
                request_serializer=torchd.v1.inference_pb2.ClassifyRequest.SerializeToString,
                response_deserializer=torchd.v1.inference_pb2.ClassifyResponse.FromString)
            return call(request, timeout=20).results[0]

    one = classify(ask, "a cat", small_models.TEXT_MODEL, text_pair="is it?")
    same(one, wanted("a cat", "is it?"))
    both = classify(ask, ["a cat", "good"], small_models.TEXT_MODEL, text_pair=["is it?", "bad"])
    same(both[0], one)
    same(both[1], wanted("good", "bad"))
    with pytest.raises(TypeError, match="expected two str"):
        classify(ask, b"jpeg", small_models.TEXT_MODEL, text_pair="is it?")
    with pytest.raises(TypeError, match="text_pair is a list beside one input"):
        classify(ask, "a", small_models.TEXT_MODEL, text_pair=["b"])
    with pytest.raises(ValueError, match="text_pair is 1 texts beside 2 inputs"):
        classify(ask, ["a", "b"], small_models.TEXT_MODEL, text_pair=["c"])


def test_what_becomes_of_scores(ask):
    row = np.array([1, -2, 0.5, 3], np.float32)
    plain = classify(ask, row, "linear", activation=torchd.Activation.NONE)
    assert plain.classes == classify(ask, row, "linear", softmax=False).classes
    sigmoid = classify(ask, row, "linear", activation=torchd.Activation.SIGMOID)
    assert [one.probability for one in sigmoid.classes] == pytest.approx(
        [1 / (1 + np.exp(-one.probability)) for one in plain.classes], abs=1e-6)
    kept = classify(ask, row, "linear", softmax=False, threshold=plain.classes[1].probability)
    assert kept.classes == plain.classes[:2]
    none = classify(ask, row, "linear", threshold=2.0)
    assert none.classes == ()
    with pytest.raises(torchd.TorchdError, match="model 'linear' left no class"):
        none.top


def test_arrays_by_place_and_by_name(ask):
    row = np.array([1, -2, 0.5, 3], np.float32)
    one = classify(ask, row, "linear", version=1, softmax=False)
    named = classify(ask, {"x": row}, "linear", version=1, softmax=False)
    assert one.classes == named.classes and {found.label for found in one.classes} == {
        "red", "green", "blue"}
    other = classify(ask, row, "linear", version=2, softmax=False)
    assert other.version == 2 and other.classes != one.classes
    swapped = classify(ask, row.astype(">f4"), "linear", version=1, softmax=False)
    assert swapped.classes == one.classes
    strided = classify(ask, np.repeat(row, 2)[::2], "linear", version=1, softmax=False)
    assert strided.classes == one.classes
    five = np.arange(5)
    two = classify(ask, {"right": five, "left": 2 * five}, "two", softmax=False, top_k=5)
    assert {found.probability for found in two.classes} == {0.0}


def test_a_text(ask):
    answer = classify(ask, "I liked it", small_models.TEXT_MODEL)
    assert {found.label for found in answer.classes} == {"negative", "positive"}
    assert sum(found.probability for found in answer.classes) == pytest.approx(1, abs=1e-5)


def test_a_default_model_and_every_option(ask, data):
    answer = ask("classify", data / "rocket.jpg", top_k=1, softmax=True, timeout=30,
                 priority=torchd.Priority.HIGH, options={"model": pictures.MODEL, "client_name": "me"})
    assert answer.top.label == "missile" and 0 < answer.top.probability < 1


def test_of_several_each_has_its_own_error(ask, data):
    answers = classify(ask, [data / "coffee.jpg", b"no image", "a text"])
    assert answers[0].top.label == "espresso"
    for failed in answers[1:]:
        assert isinstance(failed.error, torchd.InvalidInput) and failed.classes == ()
        with pytest.raises(torchd.InvalidInput):
            _ = failed.top
    (alone,) = classify(ask, [b"no image"])
    assert isinstance(alone.error, torchd.InvalidInput)
    assert classify(ask, []) == []
    with pytest.raises(torchd.NotFound):
        classify(ask, [data / "coffee.jpg"], "nobody")


def test_many_inputs_make_several_calls(ask):
    rows = [np.full(4, value, np.float32) for value in np.linspace(-1, 1, 150)]
    answers = classify(ask, rows, "linear", version=1, softmax=False)
    alone = [classify(ask, rows[i], "linear", version=1, softmax=False) for i in (0, 64, 149)]
    assert len(answers) == 150
    assert [answers[i].classes for i in (0, 64, 149)] == [one.classes for one in alone]


@pytest.mark.parametrize(("inputs", "model", "kind", "part"), [
    (b"no image", pictures.MODEL, torchd.InvalidInput, "none of JPEG, PNG and WebP"),
    (b"", "nobody", torchd.NotFound, "'nobody'"),
    (np.zeros(3, np.float32), "linear", torchd.InvalidInput, "4"),
    (b"", "broken", torchd.Unavailable, "broken"),
    (np.full(3, -1, np.float32), "raises", torchd.TorchdError, "negative input"),
], ids=["image", "model", "shape", "broken", "run"])
def test_errors_carry_code_and_text(ask, inputs, model, kind, part):
    with pytest.raises(kind, match=part) as raised:
        classify(ask, inputs, model)
    assert isinstance(raised.value.code, grpc.StatusCode) and part in raised.value.message
    assert str(raised.value).startswith(raised.value.code.name)


def test_a_files_name_is_a_text_and_the_error_says_so(ask, data):
    with pytest.raises(torchd.InvalidInput, match=r"pass pathlib.Path\("):
        classify(ask, str(data / "cat.jpg"))
    with pytest.raises(FileNotFoundError):
        classify(ask, pathlib.Path("/nowhere/cat.jpg"))


def test_what_is_no_input(ask):
    with pytest.raises(TypeError, match="float64.*float32"):
        classify(ask, np.zeros(4), "linear")
    with pytest.raises(TypeError, match="int; expected"):
        classify(ask, 5, "linear")


def test_models_and_what_they_take(ask):
    states = {(one.name, one.version): one.ready for one in ask("models")}
    assert states["linear", 1] and states["linear", 2] and not states["broken", 1]
    assert [one.version for one in ask("models", "linear")] == [1, 2]
    image = ask("explain_input", pictures.MODEL)
    assert image.takes == ("image", "tensor") and image.labels == 1000
    assert (image.image.preset, image.image.resize, image.image.crop) == ("imagenet-0.5", 256, 224)
    assert image.text is None
    text = ask("explain_input", small_models.TEXT_MODEL)
    assert text.image is None and text.text.tokens_max >= max(text.text.lengths)
    linear = ask("explain_input", options={"model": "linear"})
    assert linear.version == 2 and linear.inputs == (torchd.TensorInfo("x", "float32", (4,)),)
    with pytest.raises(torchd.Unavailable, match="no version that is ready"):
        ask("explain_input", "broken")
    with pytest.raises(torchd.InvalidInput, match="name one of"):
        ask("explain_input")


def test_the_deadline_reaches_the_server(ask, data):
    begun = time.monotonic()
    late = (torchd.DeadlineExceeded, torchd.Overloaded)
    try:
        answers = classify(ask, [data / "cat.jpg"] * 2, timeout=0.001)
    except late:
        answers = []
    assert all(isinstance(one.error, late) for one in answers)  # Refused each before the deadline.
    assert time.monotonic() - begun < 5


def test_nobody_there():
    with torchd.Client("127.0.0.1:1", timeout=5) as client:
        with pytest.raises(torchd.Unavailable, match="refused"):
            client.classify(b"")


@pytest.mark.parametrize("addresses", ["nowhere", "::1:9", "a:0", [], ["a:1", "b:2"],
                                       ["127.0.0.1:1", "[::1]:2"], ["127.0.0.1:1", "b:2"]])
def test_addresses_that_make_no_sense(addresses):
    with pytest.raises(ValueError, match="address"):
        torchd.Client(addresses)


def test_threads_share_a_client(daemon):
    answers = []
    with torchd.Client(daemon.grpc, model="linear") as client:
        def work():
            answers.append(client.classify(np.ones(4, np.float32)).top)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(answers) == 8 and len({one.index for one in answers}) == 1


def test_cancelling_a_task_cancels_the_call(daemon, data):
    async def call():
        async with torchd.AsyncClient(daemon.grpc, model=pictures.MODEL) as client:
            task = asyncio.create_task(client.classify([data / "cat.jpg"] * 64))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return await client.classify(data / "coffee.jpg", top_k=1)

    assert asyncio.run(call()).top.label == "espresso"


def test_readiness(ask):
    ask("wait_ready", timeout=10)
    ask("wait_ready", pictures.MODEL, timeout=10)
    with pytest.raises(torchd.Unavailable, match="nobody is unknown service after 0.3 s"):
        ask("wait_ready", "nobody", timeout=0.3)


def test_health_is_followed_through_a_restart(tmp_path, linear_repository):
    seen = []
    with harness.serving(tmp_path, linear_repository) as first:
        address = first.grpc
        with torchd.Client(address) as client, client.watch_health() as states:
            watching = threading.Thread(target=lambda: seen.extend(states))
            watching.start()
            harness.wait_until(lambda: client.wait_ready() is None, "serving")
            first.terminate()
            first.exit_code()
            time.sleep(0.5)
            (tmp_path / "again").mkdir()
            with harness.serving(tmp_path / "again", linear_repository, "--grpc-address", address):
                client.wait_ready(timeout=20)
                time.sleep(2.5)  # The watch's own pause is two seconds at most.
                states.close()
                watching.join(10)
    assert not watching.is_alive()
    assert seen[0] is torchd.Health.SERVING and seen[-1] is torchd.Health.SERVING
    assert torchd.Health.UNREACHABLE in seen
