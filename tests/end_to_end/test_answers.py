"""What becomes of scores, and pictures that come as levels: equal to what Python makes of them."""

import grpc
import numpy as np
import pytest

import pictures
import wire

from wire import inference


@pytest.fixture(scope="module")
def levels(data):
    """A photo as its owner would cut it: uint8 [224, 224, 3]."""
    tensor = pictures.prepared((data / "coffee.jpg").read_bytes())
    return ((tensor * 0.5 + 0.5) * 255).round().byte().permute(1, 2, 0).numpy()


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("batch", [False, True])
def test_levels_are_normalised_as_the_photo_is(daemon, data, repository, levels, planar, batch):
    given = np.moveaxis(levels, 2, 0) if planar else levels
    given = given[None] if batch else given
    item = wire.tensors(wire.tensor(given))
    found = wire.probabilities(daemon.classify(pictures.MODEL, item, top_k=1000).results[0])
    expected = pictures.Reference(repository).probabilities(
        pictures.prepared((data / "coffee.jpg").read_bytes()))
    assert np.abs(found - expected).max() < 1e-4


def test_levels_share_a_call_with_photos_and_numbers(daemon, data, levels):
    photo = (data / "coffee.jpg").read_bytes()
    numbers = pictures.prepared(photo).numpy()
    items = [wire.tensors(wire.tensor(levels)), wire.image(photo),
             wire.tensors(wire.tensor(numbers)), wire.tensors(wire.tensor(np.moveaxis(levels, 2, 0)))]
    results = daemon.classify(pictures.MODEL, *items * 4, top_k=1000).results
    first = wire.probabilities(results[0])
    for result in results:
        assert not result.HasField("error"), result.error
        assert np.abs(wire.probabilities(result) - first).max() < 0.01
    assert results[0].classes[0].label == "espresso"


def test_levels_of_another_size_are_refused(daemon):
    item = wire.tensors(wire.tensor(np.zeros((223, 224, 3), np.uint8)))
    error = daemon.refusal(pictures.MODEL, item)
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert ("expected float32 [3,224,224], or the levels of a picture as uint8 [224,224,3] or "
            "[3,224,224] (or with a leading 1), got uint8 [223,224,3]") in error.details()


ROW = wire.row([1, -2, 3, 0.5])


def _scores(daemon, **options):
    """By class."""
    classes = daemon.classify("linear", ROW, **options).results[0].classes
    return {found.index: found.probability for found in classes}


def test_sigmoid_and_no_activation(daemon):
    plain = _scores(daemon, top_k=3, activation=inference.ACTIVATION_NONE)
    assert plain == _scores(daemon, top_k=3, softmax=False)
    sigmoid = _scores(daemon, top_k=3, activation=inference.ACTIVATION_SIGMOID)
    for index, score in plain.items():
        assert sigmoid[index] == pytest.approx(1 / (1 + np.exp(-score)), abs=1e-6)
    softmax = _scores(daemon, top_k=3, activation=inference.ACTIVATION_SOFTMAX)
    assert sum(softmax.values()) == pytest.approx(1)
    assert softmax == _scores(daemon, top_k=3)


def test_what_this_server_does_not_know_is_refused(daemon):
    """A newer client's field was once left out of account, and the call answered."""
    asked = inference.ClassifyRequest(model="linear", items=[ROW])
    newer = inference.ClassifyRequest.FromString(asked.SerializeToString() + b"\xf8\x01\x01")
    with pytest.raises(grpc.RpcError) as refused:
        daemon.inference.Classify(newer, timeout=10)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "ClassifyRequest has a field of number 31" in refused.value.details()


def test_a_pair_for_a_model_of_photos_is_refused_as_one(daemon):
    pair = inference.ClassifyItem(text_pair={"first": "a", "second": "b"})
    error = daemon.refusal(pictures.MODEL, pair)
    assert "takes no text, and so no text_pair; it takes: image, tensor" in error.details()


def test_threshold_leaves_classes_out(daemon):
    plain = _scores(daemon, top_k=3, activation=inference.ACTIVATION_NONE)
    middle = sorted(plain.values())[1]
    kept = _scores(daemon, activation=inference.ACTIVATION_NONE, threshold=middle)
    assert set(kept) == {index for index, score in plain.items() if score >= middle}
    assert not _scores(daemon, threshold=1.5), "no probability is above 1"


def test_contradictions_are_refused(daemon):
    error = daemon.refusal("linear", ROW, softmax=True, activation=inference.ACTIVATION_SIGMOID)
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "softmax and activation are both set" in error.details()
    error = daemon.refusal("linear", ROW, threshold=float("nan"))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "threshold: got nan" in error.details()
