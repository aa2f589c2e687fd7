"""client/python as users get it: sdist, wheel, and every block of its README, run as it stands."""

import functools
import pathlib
import re
import sys
import zipfile

import pytest

import harness
from wire import ROOT

SOURCE = ROOT / "client/python"
README = (SOURCE / "README.md").read_text()
BLOCK = re.compile(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```\n)?", re.DOTALL)
SNIPPETS = BLOCK.findall(README)
FRONT_PAGE = BLOCK.findall((ROOT / "README.md").read_text())
# Without pip's own environment for the build, which would ask the network.
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
run = functools.partial(harness.output_of, timeout=120)


@pytest.fixture(scope="session")
def sdist(tmp_path_factory) -> pathlib.Path:
    """Made of a copy, so that nothing is left in the checkout."""
    copy = tmp_path_factory.mktemp("checkout")
    for folder in ("proto", "client/python"):
        run("mkdir", "-p", (copy / folder).parent)
        run("cp", "-r", ROOT / folder, copy / folder)
    run(sys.executable, "setup.py", "-q", "sdist", cwd=copy / "client/python")
    (made,) = (copy / "client/python/dist").iterdir()
    return made


@pytest.fixture(scope="session")
def wheel(tmp_path_factory, sdist) -> pathlib.Path:
    """Built from the sdist alone, so that it must hold the .proto files."""
    folder = tmp_path_factory.mktemp("wheel")
    run(*PIP, "wheel", "--no-deps", "--no-index", "--no-build-isolation", "-w", folder, sdist)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="session")
def installed(tmp_path_factory, wheel) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("site")
    run(*PIP, "install", "--no-deps", "--no-index", "--target", folder, wheel)
    return folder


def test_wheel_holds_types_and_generated_code(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"torchd/__init__.py", "torchd/py.typed", "torchd/v1/inference_pb2.py",
            "torchd/v1/admin_pb2.pyi"} <= names, names


def test_pip_install_from_the_checkout(tmp_path, sdist, data):
    """`pip install .` in a copy of the repository: the .proto files are two folders above."""
    folder = tmp_path / "site"
    checkout = sdist.parents[3]
    run(*PIP, "install", "--no-deps", "--no-index", "--no-build-isolation", "--target", folder,
        checkout / "client/python")
    assert (folder / "torchd/v1/inference_pb2.py").is_file()


def test_nothing_generated_is_in_the_checkout():
    listed = run("git", "ls-files", "client/python", cwd=ROOT).splitlines()
    assert listed and not [name for name in listed if "_pb2" in name or "egg-info" in name]


def test_types_are_strict(installed, tmp_path):
    """The package, and a user's program that gets what the signatures promise."""
    program = tmp_path / "program.py"
    program.write_text(
        "import pathlib\nimport numpy\nimport torchd\n"
        "client = torchd.Client()\n"
        "one: torchd.Classification = client.classify(pathlib.Path('a'))\n"
        "several: list[torchd.Classification] = client.classify([b'a', 'text'])\n"
        "array: str = client.classify(numpy.zeros(3, numpy.float32)).top.label\n"
        "async def main(client: torchd.AsyncClient) -> float:\n"
        "    return (await client.classify('text')).top.probability\n"
    )
    config = tmp_path / "pyproject.toml"
    config.write_text((SOURCE / "pyproject.toml").read_text()
                      .replace('"src/torchd"', f'"{installed}/torchd"')
                      .replace('"src"', f'"{installed}"'))
    mypy = [sys.executable, "-m", "mypy", "--config-file", config, "--cache-dir", tmp_path / "cache"]
    run(*mypy)
    run(*mypy, program, env=harness.clean_environment(MYPYPATH=str(installed)))
    program.write_text("import torchd\nprint(torchd.Client().classify(b'a').top.colour)\n")
    with pytest.raises(AssertionError, match="colour"):
        run(*mypy, program)


def test_readme_has_snippets():
    assert len(SNIPPETS) == README.count("```python") >= 7
    assert all(printed for _, printed in SNIPPETS)


def check(snippet, installed, folder, address, other=""):
    code, printed = snippet
    code = code.replace("127.0.0.1:8001", address).replace("127.0.0.1:8002", other)
    out = run(sys.executable, "-c", code, cwd=folder,
              env={"PYTHONPATH": str(installed), "PATH": "/usr/bin:/bin"})
    expected = re.escape(printed).replace(re.escape("...\n"), r".+\n")
    assert re.fullmatch(expected, out), f"printed {out!r}, promised {printed!r}"


@pytest.mark.parametrize("snippet", SNIPPETS, ids=range(len(SNIPPETS)))
def test_readme_snippet(snippet, installed, daemon, second, data):
    check(snippet, installed, data, daemon.grpc, second.grpc)


def test_front_page_snippet(installed, second):
    """`second` serves the demo alone, as `make run` does."""
    (snippet,) = FRONT_PAGE
    check(snippet, installed, ROOT, second.grpc)
