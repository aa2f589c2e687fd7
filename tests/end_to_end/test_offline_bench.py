"""`torchd bench`: a file's answers are PyTorch's own, and every mistake is one line."""

import re

import numpy as np
import pytest
import torch

import harness


class Picture(torch.nn.Module):
    """A picture to seven classes."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.layers = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8),
                                          torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1),
                                          torch.nn.Flatten(), torch.nn.Linear(8, 7))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class Words(torch.nn.Module):
    """Two rows of ids to three classes."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(6)
        self.table = torch.nn.Embedding(50, 3)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return (self.table(ids) * mask.unsqueeze(2)).sum(1)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("offline")
    for name, module, inputs in (
            ("picture", Picture(), "[{name: x, data_type: float32, shape: [3, 32, 32]}]"),
            ("words", Words(), "[{name: ids, data_type: int64, shape: [-1]}, "
                               "{name: mask, data_type: int64, shape: [-1]}]")):
        (folder / name / "1").mkdir(parents=True)
        torch.jit.script(module.eval()).save(str(folder / name / "1/model.pt"))
        (folder / name / "model.yaml").write_text(f"inputs: {inputs}\n")
    (folder / "picture/labels.txt").write_text("".join(f"class {i}\n" for i in range(7)))
    (folder / "other.txt").write_text("".join(f"other {i}\n" for i in range(7)))
    return folder


def bench(*arguments):
    return harness.run_torchd("bench", "--warmup", 2, "--repeats", 5, *arguments)


def shown(done) -> list:
    """(percent, label, index) of each class, best first."""
    assert done.returncode == 0, done.stderr
    found = re.findall(r"^ +([\d.]+) %  (.*)  #(\d+)$", done.stdout, re.MULTILINE)
    return [(float(percent), label, int(index)) for percent, label, index in found]


def expected(module, *rows) -> list:
    with torch.inference_mode():
        scores = module.eval()(*(torch.from_numpy(row)[None] for row in rows))[0]
    best = torch.softmax(scores, 0).topk(min(5, len(scores)))
    return [(100 * p, i) for p, i in zip(best.values.tolist(), best.indices.tolist())]


def agrees(done, wanted, name=None) -> None:
    got = shown(done)
    assert [index for _, _, index in got] == [index for _, index in wanted]
    for (percent, label, index), (value, _) in zip(got, wanted):
        assert percent == pytest.approx(value, abs=0.011)
        assert label == (f"{name} {index}" if name else "(no label)")


@pytest.mark.parametrize("plan", [None, "saved", "onednn", "channels_last", "graph", "direct"])
def test_answers_are_pytorchs_on_every_plan(models, tmp_path, plan):
    picture = np.random.default_rng(1).normal(size=(3, 32, 32)).astype(np.float32)
    picture.tofile(tmp_path / "picture.bin")
    flags = ("--plan", plan) if plan else ()
    done = bench("--model-file", models / "picture/1/model.pt", "--input",
                 tmp_path / "picture.bin", "--threads", 1, *flags)
    agrees(done, expected(Picture(), picture), "class")
    assert f"plan {plan or 'frozen'}, 1 thread, 1 row of x float32[3,32,32]" in done.stdout
    for part in ("5 runs after 2 of warm-up, ms: median ", "p99", "first runs, ms: ", "rows/s"):
        assert part in done.stdout, done.stdout


def test_numpy_files_labels_and_batches(models, tmp_path):
    picture = np.random.default_rng(2).normal(size=(1, 3, 32, 32)).astype(np.float32)
    np.save(tmp_path / "picture.npy", picture)
    done = bench("--model-file", models / "picture/1/model.pt", "--input",
                 tmp_path / "picture.npy", "--labels", models / "other.txt", "--batch", 4)
    agrees(done, expected(Picture(), picture[0]), "other")
    assert "4 rows of x" in done.stdout


def test_a_length_is_taken_or_refused_as_by_the_call(models, tmp_path):
    """It was ignored for pictures, and where it could not be had."""
    open_picture = tmp_path / "open" / "1"
    open_picture.mkdir(parents=True)
    (open_picture / "model.pt").write_bytes((models / "picture/1/model.pt").read_bytes())
    (tmp_path / "open" / "model.yaml").write_text(
        "inputs: [{name: x, data_type: float32, shape: [3, -1, -1]}]\n")
    model = open_picture / "model.pt"
    assert "float32[3,224,224]" in bench("--model-file", model).stdout
    assert "float32[3,40,40]" in bench("--model-file", model, "--length", 40).stdout
    for file, words, part in (
            (model, ("--length", 1_000_000), "take more than 268435456 bytes"),
            (model, ("--length", 1024, "--batch", 64), "64 times x float32[3,1024,1024]"),
            (models / "picture/1/model.pt", ("--length", 40), "leaves no size open: x float32[3,32,32]")):
        done = bench("--model-file", file, *words)
        assert done.returncode == 2 and part in done.stderr and done.stdout == "", done


def test_several_inputs_of_whole_numbers(models, tmp_path):
    ids = np.arange(9, dtype=np.int64) * 5
    mask = np.array([1, 1, 1, 1, 1, 1, 0, 0, 0], np.int64)
    ids.tofile(tmp_path / "ids.bin")
    np.save(tmp_path / "mask.npy", mask)
    words = models / "words/1/model.pt"
    done = bench("--model-file", words, "--input", tmp_path / "ids.bin", "--input",
                 tmp_path / "mask.npy")
    agrees(done, expected(Words(), ids, mask))
    done = bench("--model-file", words, "--length", 12)
    assert "ids int64[12], mask int64[12]" in done.stdout, done


def test_a_file_alone_needs_no_configuration(models, tmp_path):
    (tmp_path / "any.pt").write_bytes((models / "picture/1/model.pt").read_bytes())
    done = bench("--model-file", tmp_path / "any.pt")
    assert len(shown(done)) == 5 and "float32[3,224,224]" in done.stdout


def test_mistakes_are_one_line(models, tmp_path):
    picture = models / "picture/1/model.pt"
    (tmp_path / "short.bin").write_bytes(b"\0" * 100)
    np.save(tmp_path / "double.npy", np.zeros((3, 32, 32)))
    (tmp_path / "broken.pt").write_bytes(b"this is no model")
    cases = [
        (("--input", tmp_path / "short.bin"), 2,
         "float32[3,32,32]: got 100 bytes of elements, expected 12288"),
        (("--input", tmp_path / "double.npy"), 2, "of type '<f8', expected '<f4'"),
        (("--input", tmp_path / "none.bin"), 2, "cannot read"),
        (("--input", "a", "--input", "b"), 2, "got 2 times --input, the model takes 1: x float32"),
        (("--labels", tmp_path / "none.txt"), 2, "cannot read"),
        (("--repeats", 0), 2, "--repeats is '0', expected a whole number in 1..1000000"),
        (("--plan", "package"), 2, "not for TorchScript"),
        (("--model-file", tmp_path / "none.pt"), 2, "none.pt"),
        (("--model-file", tmp_path / "broken.pt"), 1, "broken.pt"),
    ]
    for arguments, code, part in cases:
        done = bench("--model-file", picture, *arguments)
        assert done.returncode == code and part in done.stderr, (arguments, done)
        assert len(done.stderr.splitlines()) == 1 and done.stdout == "", done
    assert harness.run_torchd("bench").returncode == 2
    assert "--model-file" in harness.run_torchd("bench", "--help").stdout
