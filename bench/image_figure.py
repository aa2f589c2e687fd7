"""Figures of pictures: the same tensors as torchvision's, the same classes, and sooner.

torchvision resizes and normalises what Pillow decodes, as most clients in Python do.
"""

import io
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import programs

sys.path.insert(0, str(programs.ROOT / "tests" / "end_to_end"))

WORST_MAX, MEAN_MAX = 2.0, 0.5  # Levels of 255.
MARGIN = 0.02
MODEL = "efficientnet-lite0"
TURNS = 301
FASTER = 1.5


class Preparer:
    """The program `prepare`, which makes of a file what the daemon would."""

    def __init__(self, filter_name="bilinear", preset="imagenet-0.5", resize=256, crop=224,
                 program=None, cores=None, **environment):
        command = [program or programs.BUILD / "prepare", "image", preset, resize, crop,
                   filter_name, 1]
        self._process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, **environment},
            preexec_fn=(lambda: os.sched_setaffinity(0, cores)) if cores else None)

    def __call__(self, path: pathlib.Path):
        """What it says of a file, and the bytes of the tensor."""
        self._process.stdin.write(f"{path}\n".encode())
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"prepare died of {path}: {self._process.wait(30)}")
        said = json.loads(line)
        sizes = said.get("shape", [0])
        count = 4
        for size in sizes:
            count *= size
        return said, self._process.stdout.read(count)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(30)


def _reference(data: bytes, filter_name: str):
    """What torchvision makes of it, as numbers of -1 to 1."""
    import pictures
    from torchvision import transforms

    mode = transforms.InterpolationMode(filter_name)
    prepare = transforms.Compose([
        transforms.Resize(256, mode), transforms.CenterCrop(224), transforms.ToTensor(),
        transforms.Normalize([0.5] * 3, [0.5] * 3)])
    return prepare(pictures.upright_rgb(data))


def _compare(files, folder, filter_name):
    """Worst and mean difference of each file, in levels; and how often the top class is another."""
    import numpy as np
    import torch

    model = torch.jit.load(str(programs.DEMO / MODEL / "1" / "model.pt")).eval()
    worst, means, compared, others = {}, {}, 0, []
    with Preparer(filter_name) as prepare:
        for name, data in files.items():
            path = folder / "picture"
            path.write_bytes(data)
            said, made = prepare(path)
            if said["status"] != "OK":
                raise RuntimeError(f"{name}: {said['status']}")
            ours = torch.from_numpy(np.frombuffer(made, np.float32).reshape(said["shape"]).copy())
            theirs = _reference(data, filter_name)
            difference = (ours - theirs).abs() * 127.5
            worst[name], means[name] = difference.max().item(), difference.mean().item()
            if filter_name != "bilinear":
                continue
            with torch.inference_mode():
                scores = torch.softmax(model(torch.stack([ours, theirs])), 1)
            top = scores[1].topk(2)
            if top.values[0] - top.values[1] > MARGIN:
                compared += 1
                if scores[0].argmax() != top.indices[0]:
                    others.append(name)
    return worst, means, compared, others


def like_torchvision():
    import many_pictures

    files = many_pictures.made()
    worst, means, compared, others = {}, {}, 0, []
    with tempfile.TemporaryDirectory() as folder:
        for filter_name in ("bilinear", "bicubic", "nearest"):
            found = _compare(files, pathlib.Path(folder), filter_name)
            worst.update({f"{name}, {filter_name}": value for name, value in found[0].items()})
            means.update({f"{name}, {filter_name}": value for name, value in found[1].items()})
            compared, others = compared + found[2], others + found[3]
    for name in sorted(worst, key=worst.get)[-8:]:
        print(f"#   {name}: at most {worst[name]:.2f} levels, {means[name]:.3f} in the mean")
    print(f"#   top class: {compared} with a margin above {MARGIN}, other ones: {others}")
    count = len(files)
    yield "image_count", count, "images", "==200", count == 200
    yield ("image_worst", max(worst.values()), "levels", f"<={WORST_MAX}",
           max(worst.values()) <= WORST_MAX)
    yield ("image_mean", max(means.values()), "levels", f"<={MEAN_MAX}",
           max(means.values()) <= MEAN_MAX)
    yield "image_other_top", len(others), "images", "==0", compared > 50 and not others


def jpeg_faster():
    """JPEG 500x375 to a ready tensor on one core, in turns with Pillow and torchvision."""
    import torch
    from PIL import Image
    from torchvision import transforms

    core = {min(os.sched_getaffinity(0))}
    before = os.sched_getaffinity(0)
    torch.set_num_threads(1)
    transform = transforms.Compose([
        transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])
    ratios = []
    os.sched_setaffinity(0, core)
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "photo.jpg"
            for photo in ("cat", "coffee", "rocket"):
                picture = Image.open(programs.ROOT / f"tests/data/{photo}.jpg").convert("RGB")
                picture.resize((500, 375)).save(path, "JPEG", quality=90)
                data = path.read_bytes()
                theirs, ours = [], []
                with Preparer(preset="imagenet", cores=core) as prepare:
                    for turn in range(TURNS):
                        begin = time.perf_counter()
                        transform(Image.open(io.BytesIO(data)).convert("RGB"))
                        took = (time.perf_counter() - begin) * 1e6
                        said, _ = prepare(path)
                        if turn >= 20:
                            theirs.append(took)
                            ours.append(said["us"][0])
                ratios.append(statistics.median(theirs) / statistics.median(ours))
                print(f"#   {photo}, {len(data)} bytes: torchvision {statistics.median(theirs):.0f} "
                      f"us, torchd {statistics.median(ours):.0f} us")
    finally:
        os.sched_setaffinity(0, before)
    yield "jpeg_faster", min(ratios), "times", f">={FASTER}", min(ratios) >= FASTER


FIGURES = {"image_like_torchvision": like_torchvision, "jpeg_faster": jpeg_faster}
