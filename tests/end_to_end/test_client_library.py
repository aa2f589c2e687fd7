"""The C++ client library as its users get it: installed, found by CMake, built and run elsewhere."""

import functools
import pathlib
import re
import subprocess

import pytest

import harness
import small_models
from wire import ROOT

BUILD = ROOT / "build/release"
README = (ROOT / "client/README.md").read_text()
EXAMPLE = (ROOT / "client/example/example.cc").read_text()
run = functools.partial(harness.output_of, timeout=300)


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("package")
    run("cmake", "--install", BUILD, "--component", "client", "--prefix", folder)
    return folder


@pytest.fixture(scope="module")
def example(tmp_path_factory, package) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("example")
    run("cmake", "-S", ROOT / "client/example", "-B", folder, f"-DCMAKE_PREFIX_PATH={package}",
        "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror")
    run("cmake", "--build", folder)
    return folder / "example"


def test_the_package_is_one_header_and_one_archive(package):
    files = sorted(str(path.relative_to(package)) for path in package.rglob("*") if path.is_file())
    assert [name for name in files if "cmake/" not in name] == [
        "include/torchd/client.h", "lib/libtorchd_client.a"]
    header = (package / "include/torchd/client.h").read_text()
    assert "grpc::" not in header and "google::" not in header and "v1::" not in header
    text = "".join(path.read_text() for path in package.rglob("*.cmake"))
    assert str(ROOT) not in text  # It may be moved.


def test_the_example_classifies(example, daemon, data):
    out = run(example, daemon.grpc, data / "cat.jpg")
    assert "efficientnet-lite0 1 READY, images cut to 224\n" in out
    assert "broken 1 UNAVAILABLE\n" in out
    lines = out.splitlines()
    assert lines[-4:-1] == ["39 % Egyptian cat", "36 % tiger cat", "17 % tabby"]
    assert lines[-1].startswith("failed: ")


def test_the_example_uses_two_servers(example, second, tmp_path, data):
    repository = tmp_path / "models"
    small_models.add_demo(repository)
    with harness.serving(tmp_path, repository) as first:
        addresses = f"{first.grpc},{second.grpc}"
        before = first.status().items_ok + second.status().items_ok
        run(example, addresses, data / "cat.jpg")
        assert first.status().items_ok + second.status().items_ok == before + 1
    assert "cat" in run(example, addresses, data / "cat.jpg")  # One of them is gone.


def test_the_example_says_when_nobody_is_there(example, data):
    done = subprocess.run([example, "127.0.0.1:1", data / "cat.jpg"], capture_output=True, text=True,
                          timeout=60, check=False)
    assert done.returncode == 3 and "no torchd answers at 127.0.0.1:1" in done.stderr


def test_the_readme_quotes_the_example():
    """So that what it shows compiles."""
    blocks = re.findall(r"```cpp\n(.*?)```", README, re.DOTALL)
    parts = re.findall(r"// \[(\w+)\]\n(.*?)// \[\1\]\n", EXAMPLE, re.DOTALL)
    assert len(parts) == 4 and [text for _, text in parts] == blocks
    assert (ROOT / "client/example/CMakeLists.txt").read_text().split("\n\n", 1)[1].strip() in README
