"""Generates torchd/v1 from the .proto files while the package is built; nothing generated is kept.

In the repository they lie in ../../proto; a source distribution carries a copy.
"""

import pathlib
import shutil

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = pathlib.Path(__file__).resolve().parent
PACKAGE = "torchd/v1"


def proto_folder() -> pathlib.Path:
    for folder in (HERE / "proto", HERE.parent.parent / "proto"):
        if (folder / PACKAGE).is_dir():
            return folder
    raise FileNotFoundError(f"no proto/{PACKAGE} in {HERE} or two folders above it")


def generate(target: pathlib.Path) -> None:
    """Writes torchd/v1/*_pb2.py and their types to `target`."""
    from grpc_tools import protoc  # Not needed to make a source distribution.

    folder = proto_folder()
    files = sorted(str(path) for path in (folder / PACKAGE).glob("*.proto"))
    target.mkdir(parents=True, exist_ok=True)
    outputs = [f"--python_out={target}", f"--pyi_out={target}"]
    if protoc.main(["protoc", f"-I{folder}", *outputs, *files]) != 0:
        raise RuntimeError(f"protoc refused {files}")
    (target / PACKAGE / "__init__.py").touch()


class BuildWithProtos(build_py):
    def run(self) -> None:
        super().run()
        generate(HERE / "src" if self.editable_mode else pathlib.Path(self.build_lib))


class SdistWithProtos(sdist):
    def make_release_tree(self, base_dir, files) -> None:
        super().make_release_tree(base_dir, files)
        target = pathlib.Path(base_dir, "proto", PACKAGE)
        target.mkdir(parents=True, exist_ok=True)
        for path in (proto_folder() / PACKAGE).glob("*.proto"):
            shutil.copy(path, target)


setup(cmdclass={"build_py": BuildWithProtos, "sdist": SdistWithProtos})
