"""BERT and DistilBERT classifiers from a configuration: what is written, from which files."""

import json

import pytest
import torch
import transformers
import yaml
from safetensors.torch import save_file

from test_export import config_of, labels_of, load, state_of
from torchd_export import cli, huggingface, text_models

SMALL_BERT = {
    "model_type": "bert", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 64, "max_position_embeddings": 64, "initializer_range": 0.2,
    "id2label": {"0": "bad", "1": "fine", "2": "great"}}
SMALL_DISTILBERT = {
    "model_type": "distilbert", "dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 64,
    "max_position_embeddings": 64, "initializer_range": 0.2}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"word{i}" for i in range(195))]


def write_config(folder, settings, **more):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.json"
    path.write_text(json.dumps({**settings, "vocab_size": len(WORDS), **more}), encoding="utf-8")
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return path


def run(*arguments):
    return cli.main(["huggingface", *map(str, arguments)])


def eager_of(settings):
    """What transformers makes of it, with its own way through the mask."""
    kinds = {"bert": (transformers.BertConfig, transformers.BertForSequenceClassification),
             "distilbert": (transformers.DistilBertConfig,
                            transformers.DistilBertForSequenceClassification)}
    make_config, make_model = kinds[settings["model_type"]]
    return make_model(make_config.from_dict({**settings, "vocab_size": len(WORDS)})).eval()


def inputs_of(settings, batch, length):
    ids = torch.randint(len(WORDS), (batch, length),
                        generator=torch.Generator().manual_seed(length))
    mask = torch.ones_like(ids)
    mask[-1, (length + 1) // 2:] = 0
    types = torch.zeros_like(ids)
    types[:, length // 2:] = 1
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
    if settings["model_type"] == "distilbert":
        del inputs["token_type_ids"]
    return inputs


def assert_answers_as(eager, loaded, settings, sizes):
    for batch, length in sizes:
        inputs = inputs_of(settings, batch, length)
        with torch.no_grad():
            torch.testing.assert_close(loaded(*inputs.values()), eager(**inputs).logits,
                                       rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("settings", [SMALL_BERT, SMALL_DISTILBERT],
                         ids=lambda settings: settings["model_type"])
@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_weights_in_a_folder_answer_as_transformers_does(tmp_path, settings, weights):
    folder = tmp_path / "mine"
    write_config(folder, settings)
    torch.manual_seed(5)
    eager = eager_of(settings)
    (save_file if weights.endswith("safetensors") else torch.save)(
        eager.state_dict(), folder / weights)
    assert run("--weights", folder, "--name", "mine", "--repository", tmp_path / "models") == 0
    entry = tmp_path / "models" / "mine"
    assert "RANDOM" not in (entry / "model.yaml").read_text(encoding="utf-8")
    assert_answers_as(eager, load(entry), settings, [(1, 2), (3, 17), (2, 64)])


def test_a_configuration_alone_gets_random_weights_and_says_so(tmp_path, capsys):
    config = write_config(tmp_path / "mine", SMALL_BERT)
    arguments = ("--config", config, "--tokens-max", 40, "--repository", tmp_path / "models")
    assert run(*arguments) == 0
    said = capsys.readouterr().out
    assert f"random weights, seed {text_models.RANDOM_SEED}" in said
    assert "warning" not in said
    entry = tmp_path / "models" / "bert"
    assert "# RANDOM WEIGHTS" in (entry / "model.yaml").read_text(encoding="utf-8")
    names = ["input_ids", "attention_mask", "token_type_ids"]
    assert config_of(entry) == {
        "inputs": [{"name": name, "data_type": "int64", "shape": [-1]} for name in names],
        "text": {"vocabulary": "vocab.txt", "lowercase": True, "tokens_max": 40,
                 "lengths": [16, 32, 40]}}
    assert labels_of(entry) == ["bad", "fine", "great"]
    assert (entry / "vocab.txt").read_text(encoding="utf-8").splitlines() == WORDS
    before = state_of(entry)
    assert run(*arguments) == 0
    assert "is up to date" in capsys.readouterr().out
    assert state_of(entry) == before


def test_distilbert_takes_no_token_types(tmp_path):
    config = write_config(tmp_path / "mine", SMALL_DISTILBERT)
    (config.parent / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert run("--config", config, "--repository", tmp_path / "models") == 0
    said = config_of(tmp_path / "models" / "distilbert")
    assert [one["name"] for one in said["inputs"]] == ["input_ids", "attention_mask"]
    assert said["text"]["lowercase"] is False
    assert labels_of(tmp_path / "models" / "distilbert") == ["negative", "positive"]


def test_a_package_takes_any_batch_and_length(tmp_path):
    config = write_config(tmp_path / "mine", SMALL_DISTILBERT)
    assert run("--config", config, "--repository", tmp_path / "models", "--format", "pt2",
               "--dynamic-batch") == 0
    loaded = torch._inductor.aoti_load_package(
        str(tmp_path / "models" / "distilbert" / "1" / "model.pt2"))
    torch.manual_seed(text_models.RANDOM_SEED)
    assert_answers_as(eager_of(SMALL_DISTILBERT), loaded, SMALL_DISTILBERT,
                      [(1, 2), (5, 20), (2, 64)])


def test_a_package_of_one_length_has_texts_padded_to_it():
    classifier = huggingface.named_shape("distilbert-base", text_models.default_vocabulary())
    said = yaml.safe_load("\n".join(huggingface._sections(
        classifier, huggingface.TextFormat(package=True, tokens=128))))
    assert [one["shape"] for one in said["inputs"]] == [[128], [128]]
    assert said["text"]["tokens_max"] == 128
    assert said["text"]["lengths"] == [128]


@pytest.mark.parametrize("name, layers, hidden", [("bert-base", 12, 768),
                                                  ("distilbert-base", 6, 768)])
def test_named_shapes_are_those_of_transformers(name, layers, hidden):
    with torch.device("meta"):
        classifier = huggingface.named_shape(name, text_models.default_vocabulary())
        config = huggingface.build(classifier).classifier.config
    assert (config.num_hidden_layers, config.hidden_size) == (layers, hidden)
    assert config.vocab_size == 30522
    assert classifier.tokens_max == 512


@pytest.mark.parametrize("settings, arguments, message", [
    ({"model_type": "gpt2"}, (), "model_type 'gpt2'; expected bert or distilbert"),
    ({"problem_type": "multi_label_classification"}, (), "expected single_label_classification"),
    ({"id2label": {"0": "a", "2": "b"}}, (), "expected labels for 0, 1 and so on"),
    ({"id2label": {"0": "a", "1": "b\nc"}}, (), "expected no empty label"),
    ({"vocab_size": 100}, (), "200 word pieces; expected at most 100"),
    ({"num_attention_heads": 5}, (), "transformers refused it"),
    ({}, ("--tokens-max", 65), "65 tokens: expected 2 to 64"),
    ({}, ("--labels", "a,b"), "--labels: 2 of them; expected 3"),
    ({}, ("--tokens", 16), "--tokens: expected with --format pt2"),
    ({}, ("--method", "script"), "torch.jit.script refused"),
    ({}, ("bert-base",), "expected one of MODEL (bert-base or distilbert-base) and --config"),
    ({}, ("--weights", "nowhere"), "weights nowhere: no such file or folder"),
    ({}, ("--weights", __file__), "not a state dict of BertForSequenceClassification"),
    ({}, ("--vocabulary", "nowhere.txt"), "vocabulary nowhere.txt: no such file")])
def test_what_cannot_be_exported_is_one_line(tmp_path, capsys, settings, arguments, message):
    config = write_config(tmp_path / "mine", SMALL_BERT, **settings)
    assert run("--config", config, *arguments, "--repository", tmp_path / "models") == 1
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "models" / "bert").exists()


def test_an_encoder_without_its_classifier_is_refused(tmp_path, capsys):
    config = write_config(tmp_path / "mine", SMALL_BERT)
    state = {name: value for name, value in eager_of(SMALL_BERT).state_dict().items()
             if not name.startswith("classifier")}
    torch.save(state, tmp_path / "mine" / "pytorch_model.bin")
    assert run("--config", config, "--weights", tmp_path / "mine", "--repository", tmp_path) == 1
    assert "classifier.weight is missing, and 1 more" in capsys.readouterr().err
