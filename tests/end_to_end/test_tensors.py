"""Ready tensors: answers equal Python's, for the demo and for models of other shapes and types."""

import concurrent.futures

import numpy as np
import pytest
import torch

import pictures
import small_models
import wire

DIFFERENCE_MAX = 1e-5


@pytest.fixture(scope="module")
def linear(repository):
    return pictures.Reference(repository, "linear", 2)


def test_demo_equals_python(daemon, repository, data):
    reference = pictures.Reference(repository)
    noise = torch.randn(3, 224, 224, generator=torch.Generator().manual_seed(5))
    for given in (pictures.prepared((data / "cat.jpg").read_bytes()), noise):
        result = daemon.classify(pictures.MODEL, wire.row(given.numpy()), top_k=1000).results[0]
        difference = np.abs(wire.probabilities(result) - reference.probabilities(given))
        assert difference.max() <= DIFFERENCE_MAX
        assert np.argmax(reference.scores(given)) == result.classes[0].index


def test_scores_without_softmax_equal_python(daemon, linear):
    given = torch.tensor([0.5, -1.0, 2.0, 0.25])
    result = daemon.classify("linear", wire.row(given.numpy()), softmax=False).results[0]
    assert np.abs(wire.probabilities(result) - linear.scores(given)).max() <= DIFFERENCE_MAX


def test_labels_follow_their_index(daemon):
    result = daemon.classify("linear", wire.row([1, 2, 3, 4])).results[0]
    assert {c.index: c.label for c in result.classes} == dict(enumerate(small_models.LABELS))


def test_model_without_labels_answers_with_indexes(daemon):
    result = daemon.classify("raises", wire.row([1, 3, 2])).results[0]
    assert [(c.index, c.label) for c in result.classes] == [(1, ""), (2, ""), (0, "")]


def test_equal_values_come_in_the_order_of_their_index(daemon):
    result = daemon.classify("raises", wire.row([2, 7, 7]), softmax=False).results[0]
    assert [(c.index, c.probability) for c in result.classes] == [(1, 14), (2, 14), (0, 4)]


def test_top_k_cuts(daemon):
    result = daemon.classify("raises", wire.row([1, 3, 2]), top_k=1).results[0]
    assert [c.index for c in result.classes] == [1]


def test_leading_one_and_the_input_name_are_optional(daemon):
    plain = daemon.classify("linear", wire.row([1, 2, 3, 4])).results[0].classes
    named = daemon.classify("linear", wire.row([[1, 2, 3, 4]], "x")).results[0].classes
    assert plain == named


def test_two_int64_inputs_in_any_order(daemon):
    left = np.array([1, 2, 3, 4, 50], np.int64)
    right = np.array([9, 8, 7, 6, 5], np.int64)
    given = [wire.tensor(right, "right"), wire.tensor(left, "left")]
    result = daemon.classify("two", wire.tensors(*given), softmax=False).results[0]
    assert wire.probabilities(result).tolist() == (left - 2 * right).tolist()


def test_highest_version_answers_unless_one_is_named(daemon, repository):
    given = torch.tensor([1.0, 0.0, -1.0, 2.0])
    for asked, expected in ((0, 2), (1, 1), (2, 2)):
        answer = daemon.classify("linear", wire.row(given.numpy()), version=asked)
        assert (answer.model, answer.version) == ("linear", expected)
        reference = pictures.Reference(repository, "linear", expected).probabilities(given)
        assert np.abs(wire.probabilities(answer.results[0]) - reference).max() <= DIFFERENCE_MAX


def test_sixty_four_items_keep_their_order(daemon):
    items = [wire.row([0, number, 0.5]) for number in range(64)]
    results = daemon.classify("raises", *items, softmax=False).results
    assert [wire.probabilities(one)[1] for one in results] == [2.0 * n for n in range(64)]


def test_every_answer_belongs_to_its_request(daemon):
    """200 requests from 16 threads to three models; an answer that is swapped is a wrong answer."""

    def ask(number: int) -> bool:
        if number % 3 == 0:
            right = np.full(5, number, np.int64)
            left = np.arange(5, dtype=np.int64) * number
            item = wire.tensors(wire.tensor(left, "left"), wire.tensor(right, "right"))
            found = daemon.classify("two", item, softmax=False).results[0]
            return wire.probabilities(found).tolist() == (left - 2 * right).tolist()
        found = daemon.classify("raises", wire.row([number, 0, 1]), softmax=False).results[0]
        return wire.probabilities(found).tolist() == [2 * number, 0, 2]

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        right = list(pool.map(ask, range(200)))
    assert all(right), [number for number, good in enumerate(right) if not good]


def test_denormals_cost_no_more_than_other_values(daemon):
    """A tensor full of the byte 0x01 took 50 times as long before denormals were flushed."""
    times = {}
    for name, value in (("normal", 0.5), ("denormal", 2.4e-38), ("again", 0.5)):
        item = wire.row(np.full((3, 224, 224), value, np.float32))
        runs = [daemon.classify(pictures.MODEL, item).results[0].times for _ in range(5)]
        times[name] = sorted(run.execute_us for run in runs)[2]
    assert times["denormal"] < 8 * max(times["normal"], times["again"]), times
