"""Fixtures: one daemon for all tests that only ask, repositories for those that need their own."""

import pathlib

import pytest

import gated
import harness
import small_models
from wire import ROOT


@pytest.fixture(scope="session")
def repository(tmp_path_factory) -> pathlib.Path:
    """The demo, a text model and one model for each thing that can go wrong."""
    folder = tmp_path_factory.mktemp("repository")
    small_models.add_demo(folder)
    small_models.add_linear(folder)
    small_models.add_raises(folder)
    small_models.add_two_inputs(folder)
    small_models.add_broken(folder)
    small_models.add_text(folder)
    return folder


@pytest.fixture(scope="session")
def daemon(tmp_path_factory, repository):
    with harness.serving(tmp_path_factory.mktemp("daemon"), repository) as running:
        yield running


@pytest.fixture(scope="session")
def second(tmp_path_factory):
    """Another daemon, for clients of two."""
    repository = tmp_path_factory.mktemp("second-repository")
    small_models.add_demo(repository)
    with harness.serving(tmp_path_factory.mktemp("second"), repository) as running:
        yield running


@pytest.fixture(scope="session")
def linear_repository(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("linear")
    small_models.add_linear(folder)
    return folder


@pytest.fixture(scope="session")
def slow_repository(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("slow")
    small_models.add_slow(folder)
    return folder


@pytest.fixture(scope="session")
def data() -> pathlib.Path:
    return ROOT / "tests/data"


# The gated models, named after what their configuration says.
GATED = {
    "gate": {"rows_per_batch_max": 1},  # Holds the executor, so that others wait.
    **{name: {"rows_per_batch_max": 1} for name in gated.FRESH},
    "one": {"rows_per_batch_max": 1},
    "eight": {"rows_per_batch_max": 8},
    "open-eight": {"rows_per_batch_max": 8},
    "long-one": {"rows_per_batch_max": 1},
    "delayed": {"rows_per_batch_max": 8, "queue": {"delay_us_max": 10_000_000}},
    "ageing": {"rows_per_batch_max": 1, "queue": {"ageing_ms": 200}},
    "patient": {"rows_per_batch_max": 1, "queue": {"ageing_ms": 600_000}},
    "in-order": {"rows_per_batch_max": 1, "queue": {"ageing_ms": 0}},
    "bounded": {"rows_per_batch_max": 1, "queue": {"rows_waiting_max": 4}},
    "timed": {"rows_per_batch_max": 1, "timeout_ms": 500},
    "flag": {"rows_per_batch_max": 8, "non_finite": "flag"},
    "knobs": {"rows_per_batch_max": 16, "timeout_ms": 2345, "non_finite": "flag", "queue": {
        "rows_waiting_max": 77, "delay_us_max": 4567, "regroup_us_max": 6543, "executors_max": 3, "ageing_ms": 8901}},
}


@pytest.fixture(scope="session")
def _gated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gated")
    made = gated.repository(folder, GATED)
    with harness.serving(folder, made, "--threads-per-executor", 1, "--rows-waiting-max", 99,
                         "--rows-per-batch-max", 2) as running:
        yield gated.GatedDaemon(running, folder)


@pytest.fixture
def served(_gated):
    """One executor that a test can hold; what ran before the test is forgotten."""
    _gated.forget()
    return _gated
