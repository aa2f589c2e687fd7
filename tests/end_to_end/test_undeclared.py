"""Models without a configuration: what they take is read from them."""

import pathlib

import pytest
import torch
import torchvision

import harness
import wire
from test_bad_models import models

FLOAT, IDS = "float32", "int64"


class Linear(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


class Digits(torch.nn.Module):
    """One channel; the linear layer fixes the side."""

    def __init__(self):
        super().__init__()
        self.seen = torch.nn.Conv2d(1, 4, 3)
        self.norm = torch.nn.BatchNorm2d(4)
        self.layer = torch.nn.Linear(4 * 13 * 13, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = torch.max_pool2d(torch.relu(self.norm(self.seen(x))), 2)
        return self.layer(torch.flatten(seen, 1))


class Words(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.words = torch.nn.Embedding(100, 8)
        self.layer = torch.nn.Linear(8, 3)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return self.layer(self.words(words).mean(1))


class Masked(Words):
    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.layer((self.words(input_ids) * attention_mask.unsqueeze(2)).mean(1))


class Odd(torch.nn.Module):
    """Nothing says its 37 x 41."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(-1, 37 * 41)[:, :5]


PICTURE, WORD = torch.ones(2, 1, 28, 28), torch.ones(1, 5, dtype=torch.long)
SCRIPTED = {
    "linear": (Linear(), [("x", FLOAT, [4])]),
    "digits": (Digits(), [("x", FLOAT, [1, 28, 28])]),
    "words": (Words(), [("words", IDS, [-1])]),
    "resnet": (torchvision.models.resnet18(weights=None), [("x", FLOAT, [3, 224, 224])]),
    "masked": (Masked(), [("input_ids", IDS, [-1]), ("attention_mask", IDS, [-1])]),
}
TRACED = {
    "linear-traced": (Linear(), torch.ones(2, 4), [("x", FLOAT, [4])]),
    "digits-traced": (Digits(), PICTURE, [("x", FLOAT, [1, 28, 28])]),
    "words-traced": (Words(), WORD, [("words", IDS, [5])]),
    "odd-traced": (Odd(), torch.ones(1, 37, 41), [("x", FLOAT, [37, 41])]),
}
PACKAGES = {
    "linear-package": (Linear(), torch.ones(1, 4), [("input", FLOAT, [4])]),
    "digits-package": (Digits(), PICTURE[:1], [("input", FLOAT, [1, 28, 28])]),
    "words-package": (Words(), WORD, [("input", IDS, [5])]),
}


def save(repository: pathlib.Path, name: str, file: str) -> str:
    folder = repository / name / "1"
    folder.mkdir(parents=True)
    return str(folder / file)


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    """Name to what the listing says."""
    repository = tmp_path_factory.mktemp("undeclared")
    scripted = {name: module for name, (module, _) in SCRIPTED.items()} | {"odd": Odd()}
    for name, module in scripted.items():
        torch.jit.script(module.eval()).save(save(repository, name, "model.pt"))
    with torch.no_grad():
        for name, (module, example, _) in TRACED.items():
            torch.jit.trace(module.eval(), example).save(save(repository, name, "model.pt"))
        for name, (module, example, _) in PACKAGES.items():
            torch._inductor.aoti_compile_and_package(
                torch.export.export(module.eval(), (example,)),
                package_path=save(repository, name, "model.pt2"),
                inductor_configs={"freezing": True, "cpp.dynamic_threads": True})
    with harness.serving(tmp_path_factory.mktemp("daemon"), repository) as daemon:
        answer = daemon.classify("digits", wire.row(torch.zeros(1, 28, 28).numpy()))
        assert len(answer.results[0].classes) > 0
        return {name: one for (name, _), one in models(daemon).items()}


@pytest.mark.parametrize(("name", "inputs"), [
    *((name, inputs) for name, (_, inputs) in SCRIPTED.items()),
    *((name, inputs) for name, (_, _, inputs) in {**TRACED, **PACKAGES}.items())])
def test_inputs_are_found(listed, name, inputs):
    assert listed[name]["state"] == "READY", listed[name]
    assert listed[name]["inputs"] == [
        {"name": one, "data_type": data_type, "shape": shape} for one, data_type, shape in inputs]


def test_what_is_not_found_is_to_be_declared(listed):
    assert listed["odd"]["state"] == "UNAVAILABLE"
    for part in ("inputs:", "'x' float32 [3,224,224]; 'x' float32 [1,28,28]; 'x' int64 [-1]"):
        assert part in listed["odd"]["reason"]
