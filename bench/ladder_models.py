"""The nine models of the ladder, with random weights: repositories of TorchScript, and as ONNX.

Usage: ladder_models.py FOLDER [NAME...]: writes FOLDER/repositories/NAME and, where the package onnx
is installed, FOLDER/NAME.onnx. What is there already stays.
"""

import pathlib
import sys
import warnings

import torch
import yaml

PICTURES = ("resnet18", "resnet50", "mobilenet_v2", "densenet121", "squeezenet1_1",
            "shufflenet_v2_x1_0", "vgg16")
TEXTS = ("bert_base", "distilbert")
NAMES = PICTURES + TEXTS
TOKENS = 128
SEED = 20260101


class Logits(torch.nn.Module):
    """(input_ids, attention_mask) to one tensor."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids, attention_mask):
        return self.encoder(input_ids=input_ids, attention_mask=attention_mask,
                            return_dict=False)[0]


def eager(name: str) -> torch.nn.Module:
    torch.manual_seed(SEED)
    if name in PICTURES:
        import torchvision
        return torchvision.models.get_model(name, weights=None).eval()
    import transformers
    transformers.logging.set_verbosity_error()
    options = {"attn_implementation": "eager", "torchscript": True}
    if name == "bert_base":
        model = transformers.BertForSequenceClassification(transformers.BertConfig(**options))
    else:
        model = transformers.DistilBertForSequenceClassification(
            transformers.DistilBertConfig(**options))
    return Logits(model).eval()


def row(name: str) -> tuple:
    """Of batch 1: what every rung is given."""
    generator = torch.Generator().manual_seed(SEED)
    if name in PICTURES:
        return (torch.rand(1, 3, 224, 224, generator=generator) - 0.5,)
    ids = torch.randint(1000, (1, TOKENS), generator=generator)
    return ids, torch.ones(1, TOKENS, dtype=torch.int64)


def inputs(name: str) -> list:
    if name in PICTURES:
        return [{"name": "x", "data_type": "float32", "shape": [3, 224, 224]}]
    return [{"name": which, "data_type": "int64", "shape": [TOKENS]}
            for which in ("input_ids", "attention_mask")]


def repository(folder: pathlib.Path, name: str) -> pathlib.Path:
    """One for each model: a server of one loads, tries and runs nothing beside it."""
    return folder / "repositories" / name


def make(folder: pathlib.Path, name: str) -> None:
    target = repository(folder, name) / name / "1" / "model.pt"
    onnx = folder / f"{name}.onnx"
    if target.exists() and onnx.exists():
        return
    model, example = eager(name), row(name)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            config = {"inputs": inputs(name), "softmax": False, "rows_per_batch_max": 1}
            (target.parent.parent / "model.yaml").write_text(yaml.safe_dump(config))
            torch.jit.trace(model, example, check_trace=False).save(str(target))
        try:
            import onnx as _  # noqa: F401
        except ImportError:
            return
        torch.onnx.export(model, example, str(onnx), dynamo=False, opset_version=17,
                          input_names=[one["name"] for one in inputs(name)])


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    for name in sys.argv[2:] or NAMES:
        make(folder, name)


if __name__ == "__main__":
    main()
