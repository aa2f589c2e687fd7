"""BERT and DistilBERT classifiers as Hugging Face writes them: a configuration, maybe weights."""

import dataclasses
import json
import pathlib

from torchd_export import ExportError, aot_package, torchscript
from torchd_export.entry import Entry, Format, copy_file, file_digest, model_yaml, write
from torchd_export.text_models import RANDOM_SEED, example_batches

SHAPES = {"bert-base": "bert", "distilbert-base": "distilbert"}  # transformers' defaults.
# What the model is asked for, in the order of its forward().
_INPUTS = {"bert": ("input_ids", "attention_mask", "token_type_ids"),
           "distilbert": ("input_ids", "attention_mask")}
_LENGTHS = (16, 32, 64, 128, 256, 512)  # torchd pads a text to one of these.
_LABELS = ("negative", "positive")
_ATTENTION = "torchd_export"  # Our name for it among transformers' kinds of attention.
_WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")


@dataclasses.dataclass(frozen=True)
class Classifier:
    """What a command line and the files it names come to. Made without torch."""

    about: str  # For notes and recipes: where the configuration is from.
    settings: dict  # Of transformers' configuration, but for the words and labels.
    labels: tuple[str, ...]
    vocabulary: pathlib.Path
    lowercase: bool
    tokens_max: int
    weights: pathlib.Path | None  # A file; None: random.

    @property
    def model_type(self) -> str:
        return self.settings["model_type"]

    @property
    def inputs(self) -> tuple[str, ...]:
        return _INPUTS[self.model_type]

    @property
    def recipe(self) -> str:
        weights = f"sha256 {file_digest(self.weights)}" if self.weights else "random"
        return (f"huggingface {self.about}, labels {'/'.join(self.labels)}, vocabulary sha256 "
                f"{file_digest(self.vocabulary)}{'' if self.lowercase else ' cased'}, tokens_max "
                f"{self.tokens_max}, weights {weights}")


@dataclasses.dataclass(frozen=True)
class TextFormat(Format):
    """With what only texts have."""

    method: str = "trace"  # Of model.pt.
    tokens: int | None = None  # Of a package: this length alone.

    @property
    def recipe(self) -> str:
        if not self.package:
            return f", {self.method}"
        return super().recipe + (f", {self.tokens} tokens" if self.tokens else "")


def named_shape(name: str, vocabulary: pathlib.Path, **options) -> Classifier:
    """`bert-base` or `distilbert-base`; `options` as of from_config()."""
    return _classifier(name, {"model_type": SHAPES[name], "vocab_size": _words(vocabulary)},
                       vocabulary, **options)


def from_config(path: pathlib.Path, vocabulary: pathlib.Path, **options) -> Classifier:
    """A config.json. `options`: labels, tokens_max, weights, cased; None is the file's own."""
    settings = _json(path)
    options["cased"] = options.get("cased") or _tokenizer_is_cased(path.parent)
    model_type = settings.get("model_type")
    if model_type not in _INPUTS:
        raise ExportError(f"config {path}: model_type {model_type!r}; expected "
                          f"{' or '.join(_INPUTS)}")
    if settings.get("problem_type") not in (None, "single_label_classification"):
        raise ExportError(f"config {path}: problem_type {settings['problem_type']!r}; expected "
                          "single_label_classification, one label for a text")
    about = f"{model_type}, config sha256 {file_digest(path)}"
    classifier = _classifier(about, settings, vocabulary, path=path, **options)
    words = settings.get("vocab_size", 30522)
    if _words(vocabulary) > words:
        raise ExportError(f"vocabulary {vocabulary}: {_words(vocabulary)} word pieces; expected at "
                          f"most {words}, the vocab_size of {path}")
    return classifier


def weights_file(path: pathlib.Path) -> pathlib.Path:
    """`path`, or the file of that folder that holds the weights."""
    if not path.is_dir():
        if not path.is_file():
            raise ExportError(f"weights {path}: no such file or folder; nothing is downloaded")
        return path
    for name in _WEIGHT_FILES:
        if (path / name).is_file():
            return path / name
    raise ExportError(f"weights {path}: holds neither of {', '.join(_WEIGHT_FILES)}; weights in "
                      "several files are not read")


def export(entry: Entry, classifier: Classifier, form: TextFormat) -> None:
    tokens_max = form.tokens or classifier.tokens_max
    model = build(classifier)
    if classifier.weights:
        notes = [f"Weights from {classifier.weights.name}."]
    else:
        print(f"{entry.name}: random weights, seed {RANDOM_SEED}: its answers mean nothing")
        notes = [f"RANDOM WEIGHTS, seed {RANDOM_SEED}: for tests and timing; answers mean nothing."]
    config = model.classifier.config
    examples = [one[:len(classifier.inputs)]
                for one in example_batches(config.vocab_size, tokens_max,
                                           getattr(config, "type_vocab_size", 1))]
    if form.tokens:
        examples = [_at_length(one, form.tokens) for one in examples]

    # What is exported has its own mask, so that is compared with the model as it came, first.
    import torch

    with torch.no_grad():
        for example in examples:
            torchscript.check(model.plain, model, example)

    def fill(folder: pathlib.Path) -> None:
        if form.package:
            aot_package.save(model, examples, folder / form.file, form.dynamic_batch,
                             tokens_max=None if form.tokens else tokens_max)
        else:
            for loss in torchscript.save(model, form.method, examples, folder / form.file):
                print(f"{entry.name}: warning: {loss}")
        (folder / "labels.txt").write_text("\n".join(classifier.labels) + "\n", encoding="utf-8")
        copy_file(classifier.vocabulary, folder / "vocab.txt")
        (folder / "model.yaml").write_text(
            model_yaml(entry, notes, _sections(classifier, form)), encoding="utf-8")

    write(entry, fill)


def build(classifier: Classifier):
    """An eager module from the tensors of `classifier.inputs` to logits, one tensor."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()  # It warns of settings that are its own defaults.
    kinds = {"bert": (transformers.BertConfig, transformers.BertForSequenceClassification),
             "distilbert": (transformers.DistilBertConfig,
                            transformers.DistilBertForSequenceClassification)}
    make_config, make_model = kinds[classifier.model_type]
    transformers.AttentionInterface.register(_ATTENTION, _attention)

    class Logits(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.classifier = model

        def forward(self, input_ids, attention_mask, token_type_ids=None):
            # Ready to be added to the scores. transformers would branch on what is still to be
            # made of the mask, and a trace would keep one branch.
            hidden = attention_mask[:, None, None, :].eq(0).float() * torch.finfo(torch.float).min
            return self._answer(_ATTENTION, input_ids, hidden, token_type_ids)

        def plain(self, input_ids, attention_mask, token_type_ids=None):
            """As transformers would have it."""
            return self._answer("sdpa", input_ids, attention_mask, token_type_ids)

        def _answer(self, attention, input_ids, attention_mask, token_type_ids):
            self.classifier.config._attn_implementation = attention
            types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
            return self.classifier(input_ids=input_ids, attention_mask=attention_mask,
                                   return_dict=False, **types)[0]

    torch.manual_seed(RANDOM_SEED)
    names = dict(enumerate(classifier.labels))
    try:
        config = make_config.from_dict({
            **classifier.settings, "id2label": names,
            "label2id": {label: index for index, label in names.items()}},
            attn_implementation="sdpa")
        model = make_model(config)
    except Exception as error:  # Its checks raise whatever they like.
        raise ExportError(f"config of {classifier.about}: transformers refused it: "
                          f"{torchscript.last_line(error)}") from error
    if classifier.weights:
        _load(model, classifier.weights)
    return Logits(model).eval()


def _attention(module, query, key, value, attention_mask, scaling=None, **_):
    """transformers' "sdpa" without its branch on the length, of which every trace would warn."""
    import torch

    answer = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=attention_mask, scale=scaling)
    return answer.transpose(1, 2).contiguous(), None


def _load(model, path: pathlib.Path) -> None:
    """Takes all that `model` has from the file; what is more in it is another task's."""
    import torch
    from safetensors.torch import load_file

    try:
        state = (load_file(path) if path.suffix == ".safetensors"
                 else torch.load(path, map_location="cpu", weights_only=True))
        # As TensorFlow called them; old checkpoints still do.
        state = {name.replace("LayerNorm.gamma", "LayerNorm.weight")
                 .replace("LayerNorm.beta", "LayerNorm.bias"): value
                 for name, value in state.items()}
        missing = model.load_state_dict(state, strict=False).missing_keys
    except Exception as error:  # A wrong file makes pickle, zipfile or torch raise anything.
        raise ExportError(f"weights {path}: not a state dict of {type(model).__name__}: "
                          f"{torchscript.last_line(error).strip()}") from error
    if missing:
        raise ExportError(f"weights {path}: {missing[0]} is missing, and {len(missing) - 1} more; "
                          f"expected all of {type(model).__name__}, its classifier included")


def _classifier(about: str, settings: dict, vocabulary: pathlib.Path, labels=None,
                tokens_max: int | None = None, weights: pathlib.Path | None = None,
                cased: bool = False, path: pathlib.Path | None = None) -> Classifier:
    own = _own_labels(settings, path)
    if labels and own and len(labels) != len(own):
        raise ExportError(f"--labels: {len(labels)} of them; expected {len(own)}, as many as "
                          f"{path} has")
    positions = settings.get("max_position_embeddings", 512)
    if tokens_max and not 2 <= tokens_max <= positions:
        raise ExportError(f"{tokens_max} tokens: expected 2 to {positions}, the positions that the "
                          "model has")
    return Classifier(about, settings, labels or own or _LABELS, vocabulary, not cased,
                      tokens_max or positions, weights)


def _own_labels(settings: dict, path: pathlib.Path | None) -> tuple[str, ...] | None:
    names = settings.get("id2label")
    if names is None:
        return None
    expected = [str(index) for index in range(len(names))] if isinstance(names, dict) else []
    if len(expected) < 2 or set(names) != set(expected):
        raise ExportError(f"config {path}: id2label {str(names)[:80]}; expected labels for 0, 1 "
                          "and so on, two or more")
    labels = tuple(str(names[index]) for index in expected)
    if not all(label.strip() and "\n" not in label for label in labels):
        raise ExportError(f"config {path}: id2label {str(names)[:80]}; expected no empty label, "
                          "and each on one line")
    return labels


def _sections(classifier: Classifier, form: TextFormat) -> list[str]:
    tokens_max = form.tokens or classifier.tokens_max
    lengths = [form.tokens] if form.tokens else [
        *(length for length in _LENGTHS if length < tokens_max), tokens_max]
    sections = ["inputs:"]
    for name in classifier.inputs:
        sections.append(f"  - {{name: {name}, data_type: int64, shape: [{form.tokens or -1}]}}")
    sections.append(f"text: {{vocabulary: vocab.txt, lowercase: "
                    f"{'true' if classifier.lowercase else 'false'}, tokens_max: {tokens_max}, "
                    f"lengths: {lengths}}}")
    return sections


def _at_length(example: tuple, tokens: int) -> tuple:
    """The example padded or cut to `tokens`; what is padded is hidden by the mask."""
    import torch

    return tuple(torch.nn.functional.pad(one, (0, max(0, tokens - one.shape[1])))[:, :tokens]
                 for one in example)


def _tokenizer_is_cased(folder: pathlib.Path) -> bool:
    path = folder / "tokenizer_config.json"
    return path.is_file() and _json(path).get("do_lower_case") is False


def _json(path: pathlib.Path) -> dict:
    if not path.is_file():
        raise ExportError(f"config {path}: no such file; expected Hugging Face's config.json")
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ExportError(f"config {path}: not JSON: {error}") from error
    if not isinstance(settings, dict):
        raise ExportError(f"config {path}: a JSON {type(settings).__name__}; expected an object")
    return settings


def _words(vocabulary: pathlib.Path) -> int:
    if not vocabulary.is_file():
        raise ExportError(f"vocabulary {vocabulary}: no such file; expected one word piece a line")
    return len(vocabulary.read_text(encoding="utf-8").splitlines())
