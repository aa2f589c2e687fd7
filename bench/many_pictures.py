"""200 pictures, real ones and made ones, in every form that torchd decodes."""

import io
import itertools
import pathlib

import numpy as np
from PIL import Image, ImageDraw

import pictures

ROOT = pathlib.Path(__file__).resolve().parent.parent
COUNT = 200
# JPEG's own roundings differ between versions of its library by a level, at the edges of a crop by
# what the filter makes of it; noise at low quality is where they meet.
_JPEGS = [dict(quality=quality, subsampling=subsampling, progressive=progressive)
          for quality, subsampling, progressive in itertools.product((60, 85, 95), (0, 1, 2), (False, True))]


def _encoded(picture, kind, **options) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def _photos() -> dict:
    import skimage

    folder = pathlib.Path(skimage.__file__).parent / "data"
    names = ("astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png",
             "grass.png", "gravel.png", "ihc.png", "moon.png", "motorcycle_left.png", "page.png",
             "retina.jpg", "hubble_deep_field.jpg", "rocket.jpg", "text.png")
    return {name.split(".")[0]: Image.open(folder / name).convert("RGB") for name in names}


def _drawn() -> dict:
    random = np.random.default_rng(8)
    x, y = np.meshgrid(np.arange(640), np.arange(480))
    lines = Image.new("RGB", (700, 500), "white")
    pen = ImageDraw.Draw(lines)
    for i in range(0, 700, 7):
        pen.line((i, 0, 700 - i, 500), fill=(i % 255, 255 - i % 255, 40), width=1 + i % 3)
    return {
        "noise": Image.fromarray(random.integers(0, 256, (480, 640, 3), np.uint8)),
        "smooth": Image.fromarray(np.stack([x % 256, y % 256, (x + y) % 256], 2).astype(np.uint8)),
        "checks": Image.fromarray((((x // 3 + y // 5) % 2) * 255).astype(np.uint8)).convert("RGB"),
        "lines": lines,
    }


def _lines(width: int, height: int, step: int, wide: int) -> Image.Image:
    picture = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(picture)
    for i in range(0, width, step):
        pen.line((i, 0, width - i, height), (i * 37 % 255, i * 91 % 255, 255 - i * 13 % 255), wide)
    return picture


def _page(width: int, height: int, step: int) -> Image.Image:
    picture = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(picture)
    for row, y in enumerate(range(0, height, step)):
        for x in range(0, width, 300):
            pen.text((x, y), f"quick brown fox {x * y}", ("red", "blue", "black")[row % 3],
                     font_size=step * 3 // 4)
    return picture


def _large(photo: Image.Image, drawn: dict) -> dict:
    """As from a camera or a scanner; whole, the largest would not fit into the default memory."""
    made = {}
    for width, height in ((4032, 3024), (3073, 4097), (6200, 6300)):
        big = photo.resize((width, height), Image.Resampling.BICUBIC)
        made[f"photo-{width}"] = _encoded(big, "JPEG", quality=90)
        made[f"progressive-{width}"] = (
            _encoded(big, "JPEG", quality=80, progressive=True) if width < 6000
            else _encoded(big.convert("L"), "JPEG", quality=80))
    tile = np.asarray(drawn["noise"])
    noise = Image.fromarray(np.tile(tile, (7, 7, 1))[:3301, :4001])
    made["noise-4001"] = _encoded(noise, "JPEG", quality=90)
    made["lines-4001"] = _encoded(drawn["lines"].resize((4001, 3001), 0), "JPEG", quality=90)
    exif = Image.Exif()
    exif[0x0112] = 6
    made["turned-4032"] = _encoded(photo.resize((4032, 3024)), "JPEG", quality=90, exif=exif)
    lines = _lines(6000, 4000, 17, 3)
    made["lines-6000"] = _encoded(lines, "JPEG", quality=90)
    made["lines-6000-turned"] = _encoded(lines, "JPEG", quality=90, exif=exif)
    made["lines-6000-png"] = _encoded(lines, "PNG", compress_level=1)
    made["page-5600"] = _encoded(_page(4200, 5600, 40), "JPEG", quality=90)
    # At least 24 times as large as the result: decoded smaller, where that cannot be seen.
    lines, thin, page = _lines(6200, 6200, 60, 5), _lines(6200, 6200, 17, 2), _page(6200, 6200, 80)
    for name, picture, quality in (("lines", lines, 90), ("thin", thin, 100), ("page", page, 96)):
        made[f"{name}-6200-{quality}"] = _encoded(picture, "JPEG", quality=quality, subsampling=0)
        made[f"{name}-6200-{quality}-grey"] = _encoded(picture.convert("L"), "JPEG",
                                                       quality=quality - 2)
    return made


def made() -> dict:
    """Name to bytes; the same on every run."""
    files = pictures.varied(ROOT / "tests/data")
    photos, drawn = _photos(), _drawn()
    files.update(_large(photos["astronaut"], drawn))
    forms = [("JPEG", options) for options in _JPEGS]
    forms += [("PNG", {}), ("WEBP", dict(quality=80)), ("WEBP", dict(lossless=True)),
              ("WEBP", dict(quality=95, method=2))]
    subjects = list({**photos, **drawn}.items())
    sizes = [(500, 375), (640, 480), (375, 500), (333, 251), (224, 224), (257, 900)]
    for i in itertools.count():
        if len(files) == COUNT:
            return files
        name, picture = subjects[i % len(subjects)]
        kind, options = forms[(i * 5 + i // len(subjects)) % len(forms)]
        resized = picture.resize(sizes[(i // 3) % len(sizes)], Image.Resampling.LANCZOS)
        files[f"{i}-{name}-{kind}-{resized.size}-{options}"] = _encoded(resized, kind, **options)
