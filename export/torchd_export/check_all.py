"""Every classifier of a kind, exported one after another and thrown away: which of them work?"""

import contextlib
import gc
import io
import pathlib
import tempfile
import time

from torchd_export import ExportError, huggingface, image_models, text_models
from torchd_export.entry import Entry, Format

KINDS = ("torchvision", "huggingface")


def names_of(kind: str) -> list[str]:
    if kind == "huggingface":
        return list(huggingface.SHAPES)
    import torchvision

    return torchvision.models.list_models(module=torchvision.models)


def check_all(kind: str, names: list[str], package: bool, dynamic_batch: bool) -> None:
    """A line for each name as it is done; ExportError with those that failed, if any did."""
    failed, begun = [], time.monotonic()
    for name in names:
        outcome = _outcome(kind, name, package, dynamic_batch)
        print(f"{name:20} {outcome}", flush=True)
        if "FAILED" in outcome:
            failed.append(name)
        gc.collect()  # Modules hold themselves in circles, and the next one needs the memory.
    seconds = time.monotonic() - begun
    print(f"{len(names) - len(failed)} of {len(names)} in {seconds:.0f} s")
    if failed:
        raise ExportError(f"check-all: {len(failed)} of {len(names)} failed: {', '.join(failed)}")


def _outcome(kind: str, name: str, package: bool, dynamic_batch: bool) -> str:
    said, begun = io.StringIO(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="torchd-export-") as folder:
        try:
            with contextlib.redirect_stdout(said):
                method, file = _export(kind, name, pathlib.Path(folder), package, dynamic_batch)
        except ExportError as error:
            return f"FAILED {error}"
        megabytes = file.stat().st_size / 1e6
    warnings = [line for line in said.getvalue().splitlines() if "warning: " in line]
    return "\n".join([f"{method:6} {time.monotonic() - begun:6.1f} s {megabytes:7.1f} MB  ok",
                      *warnings])


def _export(kind: str, name: str, repository: pathlib.Path, package: bool,
            dynamic_batch: bool) -> tuple[str, pathlib.Path]:
    """How it was made, and the file."""
    form: Format
    if kind == "torchvision":
        method = image_models.torchvision_method(name, None)
        form = Format(package, dynamic_batch)
        entry = Entry(repository, name, "check-all", ("model.yaml", "labels.txt", form.file))
        image_models.export_torchvision(entry, name, "random",
                                        method, form)
    else:
        form = huggingface.TextFormat(package, dynamic_batch)
        method = form.method
        classifier = huggingface.named_shape(name, text_models.default_vocabulary())
        entry = Entry(repository, name, "check-all", ("model.yaml", "labels.txt", form.file))
        huggingface.export(entry, classifier, form)
    return "pt2" if package else method, repository / name / form.file
