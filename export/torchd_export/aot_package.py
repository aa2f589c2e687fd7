"""From an eager module to an AOTInductor package for the CPU that provably answers the same.

The package is native code for processors like this one; g++ compiles it.
"""

import contextlib
import io
import logging
import pathlib
import re
import warnings

from torchd_export import ExportError, control_flow, torchscript

ROWS_MAX = 1024  # What torchd takes in one run.


def save(module, examples: list[tuple], path: pathlib.Path, dynamic_batch: bool,
         tokens_max: int | None = None) -> None:
    """Writes `module` to `path`, then reads it back.

    The package takes one row, or with `dynamic_batch` up to ROWS_MAX, of the examples' sizes; with
    `tokens_max` the second dimension may be anything from 2 to that. ExportError if the file
    answers any of `examples` that it takes differently from `module`.
    """
    import torch

    module.eval()
    taken = [one for one in examples if (dynamic_batch or one[0].shape[0] == 1)
             and (not tokens_max or one[0].shape[1] > 1)]
    # An example of one row would make a constant of the batch.
    example = next(one for one in taken if not dynamic_batch or one[0].shape[0] > 1)
    sizes = {}
    if dynamic_batch:
        sizes[0] = torch.export.Dim("batch", min=1, max=ROWS_MAX)
    if tokens_max:
        sizes[1] = torch.export.Dim("tokens", min=2, max=tokens_max)
    shapes = tuple(sizes for _ in example) if sizes else None
    with torch.no_grad(), _quiet():
        try:
            program = torch.export.export(module, example, dynamic_shapes=shapes)
            # dynamic_threads: each of torchd's executors has a team of its own size.
            torch._inductor.aoti_compile_and_package(
                program, package_path=str(path),
                inductor_configs={"freezing": True, "cpp.dynamic_threads": True,
                                  "aot_inductor.metadata": {"TORCH_VERSION": torch.__version__}})
        except Exception as error:  # What the module's code or the compiler leads to.
            raise ExportError(f"torch.export or AOTInductor refused {type(module).__name__}: "
                              f"{_reason(error)}") from error
        loaded = torch._inductor.aoti_load_package(str(path))
        for one in taken:
            torchscript.check(module, loaded, one)


def _reason(error: Exception) -> str:
    """The one line of torch's page that helps."""
    text = str(error)
    if "data-dependent" in text:
        places = re.findall(r'File "([^"]+)", line (\d+)', text)
        where = f" at {control_flow.below_import_folder(places[-1][0])}:{places[-1][1]}" if places \
            else ""
        return f"a branch that depends on a tensor{where}; expected none"
    if "No working C++ compiler" in text:
        return "no C++ compiler that works; expected g++ on the PATH"
    # A constraint; what g++ says of the code that inductor wrote, whose path is gone by now.
    for pattern in (r"^\s*- (.*?(?:\. |$))", r"^.*\b(error: .*)$"):
        found = re.search(pattern, text, re.MULTILINE)
        if found:
            return found[1].strip()
    return torchscript.first_line(error)


@contextlib.contextmanager
def _quiet():
    """Keeps what torch prints, warns of and logs to itself: the error says what matters."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with (warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()),
              contextlib.redirect_stderr(io.StringIO())):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
