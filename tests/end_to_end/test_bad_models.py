"""What is wrong with one model is told, and stays with that model."""

import json

import grpc
import numpy as np
import pytest

import harness
import small_models
import wire
from test_wrong_input import check_discreet


def models(daemon) -> dict:
    shown = harness.run_torchctl("--address", daemon.grpc, "models", "--json")
    assert shown.returncode == 0, shown.stderr
    return {(one["name"], one["version"]): one for one in json.loads(shown.stdout)}


def test_broken_file_is_unavailable_with_its_reason(daemon, repository):
    path = str(repository / "broken/1/model.pt")
    found = models(daemon)[("broken", 1)]
    assert found["state"] == "UNAVAILABLE"
    assert path in found["reason"] and "\n" not in found["reason"]
    assert path in daemon.log()
    others = [one for key, one in models(daemon).items() if key[0] != "broken"]
    assert len(others) == 6 and {one["state"] for one in others} == {"READY"}


def test_raising_model_fails_that_call_only(daemon):
    for _ in range(3):
        error = daemon.refusal("raises", wire.row([1, -1, 1]))
        assert error.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT)
        assert "negative input" in error.details()
        check_discreet(error.details())
        assert daemon.classify("raises", wire.row([1, 2, 3])).results[0].classes[0].index == 2


def test_raising_item_does_not_cost_its_neighbours(daemon):
    items = [wire.row([1, 0, 0]), wire.row([-1, 0, 0]), wire.row([0, 1, 0])]
    results = daemon.classify("raises", *items).results
    assert [bool(one.error.code) for one in results] == [False, True, False]
    assert [results[0].classes[0].index, results[2].classes[0].index] == [0, 1]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_without_an_order_are_an_error(daemon, value):
    assert daemon.refusal("linear", wire.row([value, 1, 1, 1])).code() == grpc.StatusCode.INTERNAL


def test_each_mistake_in_a_repository_has_its_reason(tmp_path):
    """A version that cannot load says why; the model beside it answers."""
    repository = tmp_path / "repository"
    small_models.add_linear(repository)
    (repository / "empty").mkdir()
    (repository / "no-file/1").mkdir(parents=True)
    (repository / "bad name/1").mkdir(parents=True)
    copies = {"bad-yaml": "softmax: maybe\n", "bad-key": "colour: red\n", "bad-list": "- 1\n"}
    for name, yaml in copies.items():
        folder = repository / name / "1"
        folder.mkdir(parents=True)
        (folder / "model.pt").write_bytes((repository / "linear/1/model.pt").read_bytes())
        (folder / "model.yaml").write_text(yaml)
    with harness.serving(tmp_path, repository) as own:
        listed = {one["name"]: one for one in models(own).values()}
        assert listed["linear"]["state"] == "READY"
        expected = {"empty": "version", "no-file": "model.pt", "bad name": "bad",
                    "bad-yaml": "maybe", "bad-key": "colour", "bad-list": "model.yaml"}
        for name, part in expected.items():
            assert listed[name]["state"] == "UNAVAILABLE", name
            assert part in listed[name]["reason"], listed[name]
        assert own.classify("linear", wire.row([1, 2, 3, 4])).results[0].classes


def test_wrong_number_of_labels_is_refused(tmp_path):
    repository = tmp_path / "repository"
    small_models.add_linear(repository)
    (repository / "linear/2/labels.txt").write_text("one\ntwo\n")
    with harness.serving(tmp_path, repository) as own:
        listed = models(own)
        assert listed[("linear", 1)]["state"] == "READY"
        assert "2 lines" in listed[("linear", 2)]["reason"]
        assert own.classify("linear", wire.row([1, 2, 3, 4])).version == 1


def test_models_are_described(daemon):
    demo = models(daemon)[("efficientnet-lite0", 1)]
    assert demo["inputs"] == [{"name": "image", "data_type": "float32", "shape": [3, 224, 224]}]
    assert demo["outputs"][0]["shape"] == [1000] and demo["labels"] == 1000
    assert sorted(demo["takes"]) == ["image", "tensor"] and demo["load_ms"] > 0
    assert sorted(models(daemon)[(small_models.TEXT_MODEL, 1)]["takes"]) == ["tensor", "text"]
