"""Models small enough to write down: each does one thing that a test needs."""

import pathlib
import shutil
import subprocess
import sys

import torch
import yaml

from wire import ROOT

LABELS = ["red", "green", "blue"]
TEXT_MODEL = "sentiment"


class Linear(torch.nn.Module):
    def __init__(self, seed: int):
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.layer.weight.copy_(torch.randn(3, 4, generator=generator))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


class Raises(torch.nn.Module):
    """Refuses negative values while it runs."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool((x < 0).any()):
            raise ValueError("negative input")
        return x * 2


class TwoInputs(torch.nn.Module):
    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return (left - 2 * right).to(torch.float32)


class Slow(torch.nn.Module):
    """Works for as long as its input says, in rounds.

    A round is too small for more than one thread: on a busy machine several of them wait for each
    other, and the time would be anybody's guess.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values = torch.ones(1024)
        for _ in range(int(x.max().item())):
            values = torch.cos(values)
        return torch.zeros(x.size(0), 2) + values[0] * torch.tensor([1.0, 2.0])


class Crowd(torch.nn.Module):
    """Answers a row otherwise in company."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * x.size(0)


class Endless(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        while bool((x > 0).all()):
            x = x + 1
        return x


def _input(name: str, data_type: str, *shape: int) -> dict:
    return {"name": name, "data_type": data_type, "shape": list(shape)}


def _add(repository: pathlib.Path, name: str, models: dict, labels, inputs: list,
         **config) -> None:
    folder = repository / name
    for version, model in models.items():
        (folder / str(version)).mkdir(parents=True)
        torch.jit.script(model.eval()).save(str(folder / str(version) / "model.pt"))
    (folder / "model.yaml").write_text(yaml.safe_dump({"inputs": inputs, **config}))
    if labels:
        (folder / "labels.txt").write_text("\n".join(labels) + "\n")


def add_linear(repository: pathlib.Path) -> None:
    """Two versions with different weights."""
    models = {1: Linear(1), 2: Linear(2)}
    _add(repository, "linear", models, LABELS, [_input("x", "float32", 4)],
         versions={"all": True})


def add_raises(repository: pathlib.Path) -> None:
    _add(repository, "raises", {1: Raises()}, None, [_input("x", "float32", 3)])


def add_endless(repository: pathlib.Path) -> None:
    _add(repository, "endless", {1: Endless()}, None, [_input("x", "float32", 3)])


def add_crowd(repository: pathlib.Path) -> None:
    _add(repository, "crowd", {1: Crowd()}, None, [_input("x", "float32", 3)])


def add_two_inputs(repository: pathlib.Path) -> None:
    inputs = [_input("left", "int64", 5), _input("right", "int64", 5)]
    _add(repository, "two", {1: TwoInputs()}, None, inputs)


def add_slow(repository: pathlib.Path, name: str = "slow", **config) -> None:
    _add(repository, name, {1: Slow()}, None, [_input("x", "float32", 1)], **config)


def add_broken(repository: pathlib.Path) -> pathlib.Path:
    path = repository / "broken/1/model.pt"
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(range(256)) * 16)
    return path


def add_demo(repository: pathlib.Path) -> None:
    demo = ROOT / "build/demo-models/efficientnet-lite0"
    assert demo.is_dir(), f"no {demo}: run `make demo` first"
    shutil.copytree(demo, repository / demo.name)


def add_text(repository: pathlib.Path) -> None:
    """A small BERT with random weights, made by the exporter as a user would."""
    command = [sys.executable, "-m", "torchd_export", "text-classifier"]
    made = subprocess.run(
        [*command, "--repository", str(repository), "--name", TEXT_MODEL],
        env={"PYTHONPATH": str(ROOT / "export"), "PATH": "/usr/bin:/bin", "HF_HUB_OFFLINE": "1"},
        capture_output=True, text=True, timeout=180, check=False,
    )
    assert made.returncode == 0, made.stderr
