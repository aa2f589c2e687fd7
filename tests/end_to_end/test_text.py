"""Text: word pieces and answers equal transformers' and torch's."""

import numpy as np
import pytest
import torch
import yaml
from transformers import BertTokenizer

import pictures
import small_models
import wire

SENTENCES = [
    "A cat.",
    "The quick brown fox jumps over the lazy dog!",
    "Ünïcödé naïve café, 你好 世界",
    "unbelievable internationalization #hashtag @name 3.14",
    "",
    "word " * 900,
]


@pytest.fixture(scope="module")
def tokenizer(repository):
    folder = repository / small_models.TEXT_MODEL
    settings = yaml.safe_load((folder / "model.yaml").read_text())["text"]
    name = settings.get("vocabulary", "vocab.txt")
    found = [path for path in (folder / name, folder / "1" / name) if path.exists()]
    made = BertTokenizer(str(found[0]), do_lower_case=settings.get("lowercase", True))
    limit = settings.get("tokens_max", 512)

    def encode(*words):
        return made(*words, truncation=True, max_length=limit, return_tensors="pt")

    return encode


@pytest.mark.parametrize("words", SENTENCES, ids=range(len(SENTENCES)))
def test_text_equals_transformers(daemon, repository, tokenizer, words):
    encoded = tokenizer(words)
    reference = pictures.Reference(repository, small_models.TEXT_MODEL)
    order = ("input_ids", "attention_mask", "token_type_ids")
    expected = reference.probabilities(*(encoded[name][0] for name in order))
    result = daemon.classify(small_models.TEXT_MODEL, wire.text(words)).results[0]
    assert np.abs(wire.probabilities(result) - expected).max() <= 1e-5
    assert {found.label for found in result.classes} == {"negative", "positive"}


PAIRS = [("A cat.", "Is it?"), ("", "two"), ("word " * 900, "short"), ("one", "two " * 900),
         ("word " * 900, "two " * 800), ("word " * 800, "two " * 900), ("A cat.", "")]


@pytest.mark.parametrize("pair", PAIRS, ids=range(len(PAIRS)))
def test_pair_equals_transformers(daemon, repository, tokenizer, pair):
    encoded = tokenizer(*pair)
    assert (1 in encoded["token_type_ids"][0]) == (pair[1] != "")
    reference = pictures.Reference(repository, small_models.TEXT_MODEL)
    order = ("input_ids", "attention_mask", "token_type_ids")
    expected = reference.probabilities(*(encoded[name][0] for name in order))
    item = wire.inference.ClassifyItem(text_pair=dict(first=pair[0], second=pair[1]))
    result = daemon.classify(small_models.TEXT_MODEL, item).results[0]
    assert np.abs(wire.probabilities(result) - expected).max() <= 1e-5


def test_texts_of_different_lengths_go_in_one_call(daemon):
    items = [wire.text(words) for words in SENTENCES]
    together = daemon.classify(small_models.TEXT_MODEL, *items).results
    for item, result in zip(items, together, strict=True):
        alone = daemon.classify(small_models.TEXT_MODEL, item).results[0]
        difference = np.abs(wire.probabilities(result) - wire.probabilities(alone))
        assert difference.max() <= 1e-5


def test_ready_ids_are_taken_too(daemon, tokenizer):
    encoded = tokenizer(SENTENCES[0])
    given = [wire.tensor(values[0].to(torch.int64).numpy(), name)
             for name, values in encoded.items()]
    ready = daemon.classify(small_models.TEXT_MODEL, wire.tensors(*given)).results[0]
    words = daemon.classify(small_models.TEXT_MODEL, wire.text(SENTENCES[0])).results[0]
    difference = np.abs(wire.probabilities(ready) - wire.probabilities(words))
    assert difference.max() <= 1e-6
