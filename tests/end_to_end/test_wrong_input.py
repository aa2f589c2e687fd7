"""Wrong input: the status says what the client can do next, the message names what was given and
what was expected, and neither tells a stranger about the machine."""

import re
import struct
import zlib

import grpc
import numpy as np
import pytest

import pictures
import small_models
import wire
from harness import serving

INVALID = grpc.StatusCode.INVALID_ARGUMENT
MISSING = grpc.StatusCode.NOT_FOUND
GOOD_ROW = wire.row([1, 2, 3, 4])
FIVE = np.zeros(5, np.int64)


def raw(data_type, shape, data, name="x"):
    made = wire.inference.Tensor(name=name, data_type=data_type, shape=shape, data=data)
    return wire.tensors(made)


FLOAT32 = wire.inference.DATA_TYPE_FLOAT32
# Name of the test: model, items, options, status, what the message must contain.
CASES = {
    "unknown-model": ("nobody", [GOOD_ROW], {}, MISSING, ["nobody"]),
    "unknown-version": ("linear", [GOOD_ROW], {"version": 7}, MISSING, ["linear", "7", "1, 2"]),
    "negative-version": ("linear", [GOOD_ROW], {"version": -1}, INVALID, ["-1", "version"]),
    "path-as-model": ("../x", [GOOD_ROW], {}, INVALID, ["x", "model name"]),
    "model-with-newline": ("a\nb", [GOOD_ROW], {}, INVALID, ["a?b", "model name"]),
    "long-model": ("a" * 129, [GOOD_ROW], {}, INVALID, ["129", "127"]),
    "no-model-of-many": ("", [GOOD_ROW], {}, INVALID, ["model"]),
    "broken-model": ("broken", [GOOD_ROW], {}, grpc.StatusCode.UNAVAILABLE, ["broken"]),
    "top-k-zero": ("linear", [GOOD_ROW], {"top_k": 0}, INVALID, ["top_k", "0", "1", "3"]),
    "top-k-negative": ("linear", [GOOD_ROW], {"top_k": -1}, INVALID, ["top_k", "-1", "3"]),
    "top-k-too-large": ("linear", [GOOD_ROW], {"top_k": 4}, INVALID, ["top_k", "4", "3"]),
    "top-k-over-all": (pictures.MODEL, [GOOD_ROW], {"top_k": 1001}, INVALID, ["1001", "1000"]),
    "no-items": ("linear", [], {}, INVALID, ["items", "0", "64"]),
    "too-many-items": ("linear", [GOOD_ROW] * 65, {}, INVALID, ["items", "65", "64"]),
    "empty-item": ("linear", [wire.inference.ClassifyItem()], {}, INVALID, ["tensor", "image"]),
    "bytes-too-few": ("linear", [raw(FLOAT32, [4], b"1234")], {}, INVALID, ["x", "16", "4"]),
    "bytes-too-many": ("linear", [raw(FLOAT32, [4], b"1" * 20)], {}, INVALID, ["x", "16", "20"]),
    "no-bytes": ("linear", [raw(FLOAT32, [4], b"")], {}, INVALID, ["x", "16", "0"]),
    "shape": ("linear", [wire.row([1, 2, 3])], {}, INVALID, ["x", "[4]", "[3]"]),
    "two-rows-in-one": ("linear", [wire.row([[1] * 4] * 2)], {}, INVALID, ["x", "[4]", "[2,4]"]),
    "negative-size": ("linear", [raw(FLOAT32, [-4], b"")], {}, INVALID, ["x", "[4]", "[-4]"]),
    "overflow": ("linear", [raw(FLOAT32, [2**62, 2**62], b"")], {}, INVALID, ["x", "[4]"]),
    "nine-sizes": ("linear", [raw(FLOAT32, [1] * 9, b"1234")], {}, INVALID, ["x", "9", "8"]),
    "type": ("linear", [wire.tensors(wire.tensor(np.zeros(4, np.int64), "x"))], {}, INVALID,
             ["x", "float32", "int64"]),
    "no-type": ("linear", [raw(0, [4], b"1" * 16)], {}, INVALID, ["data_type"]),
    "unheard-of-type": ("linear", [raw(99, [4], b"1" * 16)], {}, INVALID, ["data_type", "99"]),
    "unknown-input": ("linear", [wire.row([1, 2, 3, 4], "y")], {}, INVALID, ["'y'", "'x'"]),
    "missing-input": ("two", [wire.tensors(wire.tensor(FIVE, "left"))], {}, INVALID,
                      ["two", "right"]),
    "no-tensors": ("linear", [wire.tensors()], {}, INVALID, ["linear", "x"]),
    "twice": ("two", [wire.tensors(wire.tensor(FIVE, "left"), wire.tensor(FIVE, "left"))], {},
              INVALID, ["left", "twice"]),
    "nameless-of-two": ("two", [wire.tensors(wire.tensor(FIVE))], {}, INVALID, ["left", "right"]),
    "image-to-tensor-model": ("linear", [wire.image(b"\xff\xd8\xff")], {}, INVALID,
                              ["linear", "image"]),
    "text-to-tensor-model": ("linear", [wire.text("hello")], {}, INVALID, ["linear", "text"]),
    "image-to-text-model": (small_models.TEXT_MODEL, [wire.image(b"\xff\xd8\xff")], {}, INVALID,
                            [small_models.TEXT_MODEL, "image"]),
    "no-image": (pictures.MODEL, [wire.image(b"hello, I am no image")], {}, INVALID,
                 ["JPEG", "PNG"]),
    "empty-image": (pictures.MODEL, [wire.image(b"")], {}, INVALID, ["empty", "JPEG"]),
    "long-text": (small_models.TEXT_MODEL, [wire.text("a" * (2**20 + 1))], {}, INVALID,
                  [str(2**20 + 1), str(2**20)]),
}


def check(error: grpc.RpcError, code, parts) -> None:
    message = error.details()
    assert error.code() == code, message
    for part in parts:
        assert part in message, message
    check_discreet(message)


def check_discreet(message: str) -> None:
    """No paths, source files or addresses of memory, and a length that a log can bear."""
    assert not re.search(r"(^|[\s'\"(])/\w|\.cpp|\.cc\b|\.py\b|0x(0000)?[57][0-9a-f]{11}\b", message), message
    assert "\n" not in message and len(message) < 1000, message


@pytest.mark.parametrize("name", CASES)
def test_refused(daemon, name):
    model, items, options, code, parts = CASES[name]
    check(daemon.refusal(model, *items, **options), code, parts)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_truncated_jpeg(daemon, data, share):
    photo = (data / "cat.jpg").read_bytes()
    cut = wire.image(photo[: int(len(photo) * share)])
    check(daemon.refusal(pictures.MODEL, cut), INVALID, ["JPEG"])


@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_truncated_png(daemon, data, share):
    photo = pictures.varied(data)["rgb-png"]
    cut = wire.image(photo[: int(len(photo) * share)])
    check(daemon.refusal(pictures.MODEL, cut), INVALID, ["PNG"])


def test_image_that_claims_to_be_huge(daemon, data):
    """Refused by its header: 60000 x 60000 pixels would be 10 GB."""
    photo = bytearray(pictures.varied(data)["one-pixel"])
    photo[16:24] = struct.pack(">II", 60000, 60000)
    photo[29:33] = struct.pack(">I", zlib.crc32(bytes(photo[12:29])))
    check(daemon.refusal(pictures.MODEL, wire.image(bytes(photo))), INVALID, ["60000", "40"])


def test_text_that_is_no_utf8(daemon):
    """Refused before our code sees it: gRPC 1.51 answers what does not parse with UNIMPLEMENTED,
    newer ones with INTERNAL."""
    item = wire.text("hello").SerializeToString().replace(b"hello", b"\xff\xfe\xfdlo")
    call = daemon.channel.unary_unary("/torchd.v1.InferenceService/Classify")
    field = b"\x0a" + bytes([len(small_models.TEXT_MODEL)]) + small_models.TEXT_MODEL.encode()
    with pytest.raises(grpc.RpcError) as caught:
        call(field + b"\x1a" + bytes([len(item)]) + item, timeout=10)
    assert caught.value.code() in (
        INVALID, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNIMPLEMENTED)
    check_discreet(caught.value.details())


def test_each_of_several_items_has_its_own_status(daemon):
    items = [GOOD_ROW, wire.row([1]), wire.image(b"x"), GOOD_ROW, wire.inference.ClassifyItem()]
    results = daemon.classify("linear", *items).results
    assert [one.error.code for one in results] == [0, 3, 3, 0, 3]
    assert results[0].classes == results[3].classes and results[0].classes
    for bad in (results[1], results[2], results[4]):
        assert bad.error.message and not bad.classes
        check_discreet(bad.error.message)


def test_several_bad_items_still_are_an_ok_call(daemon):
    results = daemon.classify("linear", wire.row([1]), wire.row([2, 3])).results
    assert [one.error.code for one in results] == [3, 3]


def test_sole_model_needs_no_name(tmp_path, linear_repository):
    with serving(tmp_path, linear_repository) as own:
        assert own.classify("", GOOD_ROW).model == "linear"


def test_message_larger_than_the_limit_is_refused(tmp_path, linear_repository):
    with serving(tmp_path, linear_repository, "--message-bytes-max", 4096) as own:
        big = raw(FLOAT32, [4], b"1" * 5000)
        assert own.refusal("linear", big).code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert own.classify("linear", GOOD_ROW).results[0].classes
