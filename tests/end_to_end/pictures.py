"""Photos of every kind a client may send, and what Python makes of them: Pillow decodes,
torchvision resizes and normalises, torch runs the very file that the daemon serves."""

import io
import pathlib

import numpy as np
import torch
from PIL import Image, ImageOps
from torchvision import transforms

MODEL = "efficientnet-lite0"
_PREPARE = transforms.Compose([
    transforms.Resize(256, transforms.InterpolationMode.BILINEAR),
    transforms.CenterCrop(224),
    transforms.ToTensor(),
    transforms.Normalize([0.5] * 3, [0.5] * 3),
])


def upright_rgb(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data))
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I"):  # 16 bits: the high byte.
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8)).convert("RGB")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, picture).convert("RGB")
    return picture.convert("RGB")


def prepared(data: bytes) -> torch.Tensor:
    """What torchvision feeds to the model, without the batch dimension."""
    return _PREPARE(upright_rgb(data))


class Reference:
    """The served model file in Python."""

    def __init__(self, repository: pathlib.Path, model: str = MODEL, version: int = 1):
        self._module = torch.jit.load(str(repository / model / str(version) / "model.pt")).eval()

    def scores(self, *inputs: torch.Tensor) -> np.ndarray:
        with torch.inference_mode():
            scores = self._module(*(one.unsqueeze(0) for one in inputs))
        if isinstance(scores, tuple):
            scores = scores[0]
        return scores[0].numpy()

    def probabilities(self, *inputs: torch.Tensor) -> np.ndarray:
        return torch.softmax(torch.from_numpy(self.scores(*inputs)).double(), 0).numpy()


def _encoded(picture: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def _rotated(picture: Image.Image, orientation: int, kind="JPEG") -> bytes:
    """`picture` with a tag that says how a viewer must turn it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return _encoded(picture, kind, quality=92, exif=exif)


def _with_alpha(picture: Image.Image, mode: str) -> Image.Image:
    """Fades out from left to right."""
    width, height = picture.size
    fade = np.tile(np.linspace(255, 0, width).astype(np.uint8), (height, 1))
    picture = picture.convert(mode)
    picture.putalpha(Image.fromarray(fade))
    return picture


def _sixteen_bit(picture: Image.Image) -> bytes:
    grey = np.asarray(picture.convert("L")).astype(np.uint16)
    return _encoded(Image.fromarray(grey * 257), "PNG")


def _of_cat(cat: Image.Image) -> dict:
    palette = cat.convert("P", palette=Image.Palette.ADAPTIVE)
    return {
        "grey-jpeg": _encoded(cat.convert("L"), "JPEG", quality=90),
        "grey-png": _encoded(cat.convert("L"), "PNG"),
        "black-and-white-png": _encoded(cat.convert("1"), "PNG"),
        "palette-png": _encoded(palette, "PNG"),
        "palette-transparent-png": _encoded(palette, "PNG", transparency=palette.getpixel((0, 0))),
        "rgb-png": _encoded(cat, "PNG"),
        "rgba-png": _encoded(_with_alpha(cat, "RGBA"), "PNG"),
        "grey-alpha-png": _encoded(_with_alpha(cat, "LA"), "PNG"),
        "sixteen-bit-png": _sixteen_bit(cat),
        "cmyk-jpeg": _encoded(cat.convert("CMYK"), "JPEG", quality=92),
        "webp": _encoded(cat, "WEBP", quality=85),
        "webp-lossless": _encoded(cat, "WEBP", lossless=True),
        "webp-alpha": _encoded(_with_alpha(cat, "RGBA"), "WEBP", quality=85),
        "webp-turned": _rotated(cat, 6, "WEBP"),
        "progressive-jpeg": _encoded(cat, "JPEG", quality=85, progressive=True),
        "jpeg-444": _encoded(cat, "JPEG", quality=90, subsampling=0),
        "jpeg-420": _encoded(cat, "JPEG", quality=90, subsampling=2),
        **{f"orientation-{turn}": _rotated(cat, turn) for turn in range(2, 9)},
    }


def _synthetic(coffee: Image.Image) -> dict:
    noise = np.random.default_rng(3).integers(0, 256, (300, 260, 3), np.uint8)
    return {
        "one-pixel": _encoded(Image.new("RGB", (1, 1), (200, 30, 60)), "PNG"),
        "one-pixel-jpeg": _encoded(Image.new("L", (1, 1), 77), "JPEG"),
        "very-wide": _encoded(coffee.resize((2400, 30)), "JPEG", quality=90),
        "very-tall": _encoded(coffee.resize((24, 1800)), "PNG"),
        "noise": _encoded(Image.fromarray(noise), "PNG"),
        "small": _encoded(coffee.resize((40, 30)), "PNG"),
    }


def varied(data: pathlib.Path) -> dict:
    """Name to bytes."""
    photos = {name: (data / f"{name}.jpg").read_bytes() for name in ("cat", "coffee", "rocket")}
    rgb = {name: Image.open(io.BytesIO(data)).convert("RGB") for name, data in photos.items()}
    return {**photos, **_of_cat(rgb["cat"]), **_synthetic(rgb["coffee"])}


# Known before any photo is made, so that each is a test of its own.
NAMES = sorted(
    "cat coffee rocket grey-jpeg grey-png black-and-white-png palette-png palette-transparent-png "
    "webp webp-lossless webp-alpha webp-turned rgb-png rgba-png grey-alpha-png sixteen-bit-png cmyk-jpeg progressive-jpeg jpeg-444 jpeg-420 "
    "orientation-2 orientation-3 orientation-4 orientation-5 orientation-6 orientation-7 "
    "orientation-8 one-pixel one-pixel-jpeg very-wide very-tall noise small".split()
)
