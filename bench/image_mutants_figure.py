"""The figure of damaged pictures: under AddressSanitizer, none crashes, none takes long or much."""

import io
import pathlib
import random
import subprocess
import tempfile

import programs
from image_figure import Preparer

COUNT = 1000
MS_MAX, MB_MAX = 200, 64
ASAN = programs.BUILD.parent / "asan"


def _originals() -> list:
    from PIL import Image

    photo = Image.open(programs.ROOT / "tests/data/coffee.jpg").convert("RGB").resize((320, 240))
    alpha = photo.copy()
    alpha.putalpha(Image.linear_gradient("L").resize(photo.size))
    exif = Image.Exif()
    exif[0x0112] = 6
    forms = [
        (photo, "JPEG", dict(quality=85)), (photo, "JPEG", dict(quality=85, progressive=True)),
        (photo.convert("L"), "JPEG", {}), (photo.convert("CMYK"), "JPEG", {}),
        (photo, "JPEG", dict(exif=exif, subsampling=0)), (photo, "PNG", {}), (alpha, "PNG", {}),
        (photo.convert("P"), "PNG", {}), (photo.convert("L").convert("I;16"), "PNG", {}), (photo, "WEBP", {}),
        (photo, "WEBP", dict(lossless=True)), (alpha, "WEBP", {}), (photo, "WEBP", dict(exif=exif)),
    ]
    made = []
    for picture, kind, options in forms:
        out = io.BytesIO()
        picture.save(out, kind, **options)
        made.append(out.getvalue())
    return made


def _mutant(original: bytes, choice: random.Random) -> bytes:
    """Bits, bytes and stretches changed; half of the times near the front, where the headers are."""
    data = bytearray(original)
    for _ in range(choice.choice((1, 1, 2, 4, 16))):
        at = choice.randrange(min(len(data), choice.choice((64, 700, len(data)))))
        change = choice.randrange(6)
        if change == 0:
            data[at] ^= 1 << choice.randrange(8)
        elif change == 1:
            data[at] = choice.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif change == 2:
            data[at:at + 4] = choice.randbytes(4)
        elif change == 3:
            del data[at:at + choice.randint(1, 200)]
        elif change == 4:
            data[at:at] = data[at:at + choice.randint(1, 200)]
        else:
            del data[max(at, 20):]
        if len(data) < 2:
            break
    return bytes(data)


def mutants():
    if not (ASAN / "build.ninja").is_file():
        subprocess.run(["cmake", "--preset", "asan", "--log-level=WARNING"], cwd=programs.ROOT,
                       check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "-C", str(ASAN), "prepare"], check=True, stdout=subprocess.DEVNULL)
    choice = random.Random(7)
    originals = _originals()
    slowest = most = crashes = taken = 0
    # What is freed may be taken again, so that growth is what one picture takes.
    options = "quarantine_size_mb=0:thread_local_quarantine_size_kb=0"
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "mutant"
        for first in range(0, COUNT, 100):
            prepare = Preparer(program=ASAN / "prepare", ASAN_OPTIONS=options)
            for i in range(first, first + 100):
                path.write_bytes(_mutant(originals[i % len(originals)], choice))
                try:
                    said, _ = prepare(path)
                except RuntimeError as error:
                    crashes += 1
                    print(f"#   mutant {i}: {error}")
                    prepare = Preparer(program=ASAN / "prepare", ASAN_OPTIONS=options)
                    continue
                taken += said["status"] == "OK"
                slowest = max(slowest, said["us"][0] / 1000)
                most = max(most, said["memory_kb"] / 1024)
                if not said["status"].startswith(("OK", "INVALID_ARGUMENT")):
                    crashes += 1
                    print(f"#   mutant {i}: {said['status']}")
            prepare.__exit__()
    print(f"#   {COUNT} mutants of {len(originals)} pictures; {taken} are pictures still")
    yield "mutant_images_crashes", crashes, "crashes", "==0", crashes == 0
    yield "mutant_images_slowest", slowest, "ms", f"<={MS_MAX}", slowest <= MS_MAX
    yield "mutant_images_memory", most, "MB", f"<={MB_MAX}", most <= MB_MAX


FIGURES = {"mutant_images": mutants}
