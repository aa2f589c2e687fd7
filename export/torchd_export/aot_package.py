"""From an eager module to an AOTInductor package for the CPU that provably answers the same.

The package is native code for processors like this one; g++ compiles it.
"""

import pathlib
import warnings

from torchd_export import ExportError, torchscript

ROWS_MAX = 1024  # What torchd takes in one run.


def save(module, examples: list[tuple], path: pathlib.Path, dynamic_batch: bool) -> None:
    """Writes `module` to `path`, then reads it back.

    The first example has one row. Without `dynamic_batch` the package takes one row and no more.
    ExportError if the file answers any of `examples` that it takes differently from `module`.
    """
    import torch

    module.eval()
    example, shapes = examples[0], None
    if dynamic_batch:
        # An example of one row would make a constant of the batch.
        example = next(one for one in examples if one[0].shape[0] > 1)
        batch = torch.export.Dim("batch", min=1, max=ROWS_MAX)
        shapes = tuple({0: batch} for _ in example)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program = torch.export.export(module, example, dynamic_shapes=shapes)
            # dynamic_threads: each of torchd's executors has a team of its own size.
            torch._inductor.aoti_compile_and_package(
                program, package_path=str(path),
                inductor_configs={"freezing": True, "cpp.dynamic_threads": True})
        except Exception as error:  # What the module's code or the compiler leads to.
            raise ExportError(f"torch.export or AOTInductor refused {type(module).__name__}: "
                              f"{torchscript.first_line(error)}") from error
        loaded = torch._inductor.aoti_load_package(str(path))
        for one in examples:
            if dynamic_batch or one[0].shape[0] == 1:
                torchscript.check(module, loaded, one)
