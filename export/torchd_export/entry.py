"""A repository entry on disk: NAME/{model.yaml,labels.txt,1/model.pt}, written all or nothing."""

import dataclasses
import hashlib
import pathlib
import re
import shutil
import tempfile
from typing import Callable

from torchd_export import EXPORTER_VERSION, ExportError

_STAMP_START = "# Made by torchd_export "
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")  # What torchd takes for a model name.


@dataclasses.dataclass(frozen=True)
class Entry:
    """Which entry, and from what: `recipe` changes whenever the files would."""

    repository: pathlib.Path
    name: str
    recipe: str
    files: tuple[str, ...] = ("model.yaml", "labels.txt", "1/model.pt")

    @property
    def folder(self) -> pathlib.Path:
        return self.repository / self.name

    @property
    def stamp(self) -> str:
        """The first line of model.yaml, by which a later run knows its own work."""
        return f"{_STAMP_START}{EXPORTER_VERSION}: {self.recipe}"


@dataclasses.dataclass(frozen=True)
class Format:
    """What file the model becomes."""

    package: bool = False  # model.pt2 instead of model.pt.
    dynamic_batch: bool = False  # Of a package: any number of rows, not one.

    @property
    def file(self) -> str:
        return "1/model.pt2" if self.package else "1/model.pt"

    @property
    def recipe(self) -> str:
        """Empty for TorchScript, whose recipes are older than the choice."""
        if not self.package:
            return ""
        return ", pt2, " + ("dynamic batch" if self.dynamic_batch else "one row")


def check_name(name: str) -> None:
    """A name becomes a folder; one with a slash or a leading dot would leave the repository."""
    if not _NAME.fullmatch(name):
        raise ExportError(f"model name {name!r}: expected a letter, digit or '_', then up to "
                          "127 letters, digits, '_', '.' or '-'")


def is_current(entry: Entry) -> bool:
    """Whether the entry is complete and was made from the same recipe by this exporter."""
    return (all((entry.folder / file).is_file() for file in entry.files)
            and _first_line(entry.folder / "model.yaml") == entry.stamp)


def write(entry: Entry, fill: Callable[[pathlib.Path], None]) -> None:
    """Calls `fill` on an empty folder beside the entry, then puts it in the entry's place.

    The folder's name starts with a dot, which torchd does not take for a model. An entry that
    somebody else wrote is never replaced.
    """
    _refuse_foreign(entry)
    entry.repository.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{entry.name}.", dir=entry.repository) as scratch:
        fresh = pathlib.Path(scratch) / "fresh"
        (fresh / "1").mkdir(parents=True)
        fill(fresh)
        missing = [file for file in entry.files if not (fresh / file).is_file()]
        assert not missing, f"{missing} not written"
        if entry.folder.exists():
            entry.folder.rename(pathlib.Path(scratch) / "old")
        fresh.rename(entry.folder)


def model_yaml(entry: Entry, notes: list[str], sections: list[str]) -> str:
    """The text of model.yaml: the stamp, `notes` as comments, then `sections`."""
    return "\n".join([entry.stamp, *(f"# {note}" for note in notes), *sections]) + "\n"


def file_digest(path: pathlib.Path) -> str:
    """Says in a recipe which file went in: a path would not notice new contents."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def copy_file(source: pathlib.Path, target: pathlib.Path) -> None:
    shutil.copyfile(source, target)


def _first_line(path: pathlib.Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.readline().rstrip("\n")


def _refuse_foreign(entry: Entry) -> None:
    if not entry.folder.exists():
        return
    config = entry.folder / "model.yaml"
    if not config.is_file() or not _first_line(config).startswith(_STAMP_START):
        raise ExportError(f"{entry.folder}: is there already and was not made by torchd_export; "
                          "expected no such folder: move it away or choose another --name")
