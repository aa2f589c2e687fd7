"""A photo's answer equals what Python makes of the same bytes, whatever kind of file it is."""

import io
import pathlib
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

import pictures
import wire

CLASSES = 1000
PROBABILITY_DIFFERENCE_MAX = 0.01
TIE = 0.005  # Classes this close may change places.


@pytest.fixture(scope="module")
def photos(data):
    made = pictures.varied(data)
    assert sorted(made) == pictures.NAMES
    return made


@pytest.fixture(scope="module")
def reference(repository):
    return pictures.Reference(repository)


def answer(daemon, photo: bytes):
    return daemon.classify(pictures.MODEL, wire.image(photo), top_k=CLASSES).results[0]


def test_the_cat_is_a_cat(daemon, data):
    photo = wire.image((data / "cat.jpg").read_bytes())
    classes = daemon.classify(pictures.MODEL, photo).results[0].classes
    assert len(classes) == 5, "absent top_k means 5"
    assert classes[0].label in {"tabby", "tiger cat", "Egyptian cat"}
    assert {"tabby", "tiger cat", "Egyptian cat"} == {found.label for found in classes[:3]}
    assert classes[0].probability > 0.3


@pytest.mark.parametrize(("photo", "label"), [("coffee", "espresso"), ("rocket", "missile")])
def test_photos_have_their_labels(daemon, data, photo, label):
    item = wire.image((data / f"{photo}.jpg").read_bytes())
    assert daemon.classify(pictures.MODEL, item).results[0].classes[0].label == label


@pytest.mark.parametrize("name", pictures.NAMES)
def test_photo_equals_torchvision(daemon, photos, reference, name):
    expected = reference.probabilities(pictures.prepared(photos[name]))
    result = answer(daemon, photos[name])
    difference = np.abs(wire.probabilities(result) - expected)
    assert difference.max() <= PROBABILITY_DIFFERENCE_MAX, f"class {difference.argmax()}"
    best = np.argsort(-expected, kind="stable")
    for place, found in enumerate(result.classes[:5]):
        gap = abs(expected[found.index] - expected[best[place]])
        assert found.index == best[place] or gap < TIE, f"place {place}: class {found.index}"


def test_classes_come_most_probable_first(daemon, photos):
    values = [found.probability for found in answer(daemon, photos["coffee"]).classes]
    assert values == sorted(values, reverse=True)
    assert sum(values) == pytest.approx(1, abs=1e-4)


def test_each_orientation_is_turned_its_own_way(daemon, data):
    """Stored turned and tagged so, the cat stands upright again: nearly the untagged answer."""
    cat = Image.open(data / "cat.jpg").convert("RGB")
    turn = Image.Transpose
    stored = {3: turn.ROTATE_180, 6: turn.ROTATE_90, 8: turn.ROTATE_270, 5: turn.TRANSPOSE}
    plain = wire.probabilities(answer(daemon, encoded(cat, 1)))
    for orientation, how in stored.items():
        turned = wire.probabilities(answer(daemon, encoded(cat.transpose(how), orientation)))
        assert np.abs(turned - plain).max() < 0.05, f"orientation {orientation}"


def encoded(picture, orientation) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=98, subsampling=0, exif=exif)
    return out.getvalue()


def test_one_bad_photo_does_not_cost_the_others(daemon, data):
    cat = (data / "cat.jpg").read_bytes()
    items = [wire.image(cat), wire.image(b"no photo at all"), wire.image(cat)]
    answers = daemon.classify(pictures.MODEL, *items).results
    assert [one.error.code for one in answers] == [0, 3, 0]
    assert [one.HasField("error") for one in answers] == [False, True, False]
    assert "JPEG" in answers[1].error.message and not answers[1].classes
    assert [c.index for c in answers[0].classes] == [c.index for c in answers[2].classes]


def _chunk(kind: bytes, body: bytes) -> bytes:
    return (struct.pack(">I", len(body)) + kind + body +
            struct.pack(">I", zlib.crc32(kind + body)))


def test_text_in_a_png_is_never_unfolded(daemon):
    """4 MB of compressed comments would take 4 GB; nobody reads them."""
    picture = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 100, 50)).save(picture, "png")
    plain = picture.getvalue()
    packed = zlib.compress(bytes(20_000_000))
    after_header = 8 + 25
    bomb = (plain[:after_header] +
            b"".join(_chunk(b"zTXt", b"k%d\0\0" % i + packed) for i in range(100)) +
            b"".join(_chunk(b"iTXt", b"k%d\0\1\0\0\0" % i + packed) for i in range(50)) +
            plain[after_header:])

    def peak_kib():
        text = pathlib.Path(f"/proc/{daemon.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", text).group(1))

    expected = daemon.classify(pictures.MODEL, wire.image(plain)).results[0].classes
    before = peak_kib()
    assert daemon.classify(pictures.MODEL, wire.image(bomb)).results[0].classes == expected
    assert peak_kib() - before < 100 * 1024
