"""Writes corpus/ beside itself: small pictures, texts and requests of every kind the fuzzers know.

Needs the packages of scripts/requirements/test.txt. Same output on every run of the same packages.
"""

import io
import json
import pathlib
import struct
import sys
import zlib

from PIL import Image

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "end_to_end"))


def _write(kind: str, name: str, data: bytes) -> None:
    (HERE / "corpus" / kind).mkdir(parents=True, exist_ok=True)
    (HERE / "corpus" / kind / name).write_bytes(data)


def _encoded(picture, kind, **options) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _interlaced_png() -> bytes:
    """Pillow reads them and writes none: 2x2 grey, in the passes that have pixels (1, 6 and 7)."""
    header = struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 1)
    rows = b"\0\x11" + b"\0\x22" + b"\0\x33\x44"
    return (b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows))
            + _chunk(b"IEND", b""))


def _textured() -> Image.Image:
    picture = Image.radial_gradient("L").resize((240, 180))
    for i in range(0, 240, 9):
        picture.paste(255 - i, (i, i % 70, i + 4, 180 - i % 50))
    return picture


def pictures() -> None:
    photo = Image.linear_gradient("L").resize((19, 13)).convert("RGB")
    photo.putpixel((3, 5), (250, 10, 60))
    alpha = photo.copy()
    alpha.putalpha(Image.linear_gradient("L").resize(photo.size))
    exif = Image.Exif()
    exif[0x0112] = 8
    forms = {
        "420.jpg": (photo, "JPEG", {}), "444.jpg": (photo, "JPEG", dict(subsampling=0)),
        "progressive.jpg": (photo, "JPEG", dict(progressive=True)),
        "grey.jpg": (photo.convert("L"), "JPEG", {}),
        "cmyk.jpg": (photo.convert("CMYK"), "JPEG", {}),
        "turned.jpg": (photo, "JPEG", dict(exif=exif)),
        "large-grey.jpg": (_textured(), "JPEG", dict(quality=100)),
        "large-coarse.jpg": (_textured(), "JPEG", dict(quality=50)),
        "large-420.jpg": (_textured().convert("RGB"), "JPEG", dict(quality=100, subsampling=2)),
        "large-444.jpg": (_textured().convert("RGB"), "JPEG", dict(quality=100, subsampling=0)),
        "too-tall.png": (Image.new("1", (1, 65536)), "PNG", {}),
        "wide.jpg": (photo.resize((96, 64)), "JPEG", {}),
        "tall.png": (photo.resize((3, 90)), "PNG", {}), "rgb.png": (photo, "PNG", {}), "rgba.png": (alpha, "PNG", {}),
        "palette.png": (photo.convert("P"), "PNG", dict(transparency=0)),
        "grey16.png": (photo.convert("L").convert("I;16"), "PNG", {}),
        "one-bit.png": (photo.convert("1"), "PNG", {}),
        "turned.png": (photo, "PNG", dict(exif=exif)),
        "lossy.webp": (photo, "WEBP", {}), "lossless.webp": (photo, "WEBP", dict(lossless=True)),
        "alpha.webp": (alpha, "WEBP", {}), "turned.webp": (photo, "WEBP", dict(exif=exif)),
        "moving.webp": (photo, "WEBP", dict(save_all=True, append_images=[alpha], duration=9)),
    }
    for name, (picture, kind, options) in forms.items():
        _write("image", name, _encoded(picture, kind, **options))
    _write("image", "interlaced.png", _interlaced_png())
    # A chunk of 26 bytes that claims 2 GB: libFuzzer's find.
    claims = bytearray(_encoded(photo, "PNG", exif=exif))
    claims[33] = 0x7E
    _write("image", "exif-claims.png", bytes(claims))


def texts() -> None:
    vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\ncat\n##s\n"
    samples = ["a cat", "Cats [SEP] [MASK]", "é e\u0301 日本\u202e\u0000\ufffd", "a\u0301\u0327\u0316" * 9,
               "a" * 101, "🙂-!¿"]
    for i, sample in enumerate(samples):
        for choice in range(4):
            _write("tokenizer", f"text-{i}-{choice}", bytes([choice]) + sample.encode())
    _write("tokenizer", "not-utf-8", b"\0a\xff\xc3")
    _write("tokenizer", "vocabulary", b"\4" + vocabulary.encode())
    flags = dict(lstrip=False, rstrip=False, single_word=False, normalized=False)
    tokenizer = {
        "added_tokens": [dict(id=0, content="[PAD]", special=True, **flags)],
        "normalizer": dict(type="BertNormalizer", clean_text=True, handle_chinese_chars=True,
                           strip_accents=None, lowercase=True),
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": dict(type="WordPiece", unk_token="[UNK]", continuing_subword_prefix="##",
                      max_input_chars_per_word=100,
                      vocab={word: i for i, word in enumerate(vocabulary.split())}),
    }
    _write("tokenizer", "tokenizer-json", b"\5" + json.dumps(tokenizer).encode())
    tokenizer["model"]["vocab"]["cat"] = 2 ** 40
    _write("tokenizer", "tokenizer-json-id", b"\5" + json.dumps(tokenizer).encode())


def requests() -> None:
    import numpy as np
    import wire

    pb = wire.inference
    x = wire.tensor(np.ones((2, 4), np.float32), "x")
    ids = wire.tensor(np.ones((1, 3), np.int64), "ids")
    levels = [wire.tensor(np.ones(shape, np.uint8)) for shape in ((3, 2, 2), (1, 2, 2, 3), (2, 3, 2))]
    made = {
        "empty": pb.ClassifyRequest(),
        "rows": pb.ClassifyRequest(model="m", items=[wire.tensors(x, ids)] * 3, top_k=3),
        "twice": pb.ClassifyRequest(items=[wire.tensors(x, x)]),
        "levels": pb.ClassifyRequest(items=[wire.tensors(one) for one in levels], threshold=0.25),
        "texts": pb.ClassifyRequest(items=[
            pb.ClassifyItem(text="a cat"), pb.ClassifyItem(image=b"\xff\xd8\xff"),
            pb.ClassifyItem(text_pair=pb.TextPair(first="a", second="b"))], version_label="stable"),
        "both": pb.ClassifyRequest(softmax=True, activation=pb.ACTIVATION_SIGMOID,
                                   items=[pb.ClassifyItem()]),
        "huge": pb.ClassifyRequest(top_k=-1, version=-9, threshold=float("nan"), items=[wire.tensors(
            pb.Tensor(name="x", data_type=4, shape=[2, 1 << 62], data=b"1234"))]),
        "deep": pb.ClassifyRequest(items=[wire.tensors(
            pb.Tensor(name="x", data_type=9, shape=[1] * 12, data=b""))], priority=2),
    }
    for name, request in made.items():
        _write("request", name, request.SerializeToString(deterministic=True))


if __name__ == "__main__":
    pictures()
    texts()
    requests()
