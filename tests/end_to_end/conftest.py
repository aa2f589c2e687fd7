"""Fixtures: one daemon for all tests that only ask, repositories for those that need their own."""

import pathlib

import pytest

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
