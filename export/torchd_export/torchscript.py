"""From an eager module to a TorchScript file that provably answers the same."""

import pathlib
import warnings

from torchd_export import ExportError

DIFFERENCE_MAX = 1e-5  # Absolute, for answers up to 1; beyond, relative to the largest.


def save(module, method: str, examples: list[tuple], path: pathlib.Path) -> None:
    """Writes `module` to `path` by script or trace (of the first example), then reads it back.

    ExportError if the file answers any of `examples` differently from `module`. They should
    vary in every dimension that may vary when served: a trace can freeze what it saw.
    """
    import torch

    module.eval()
    with torch.no_grad(), warnings.catch_warnings():
        # TorchScript is deprecated, and traces warn of each Python branch. `check` is our answer.
        warnings.simplefilter("ignore")
        try:
            if method == "script":
                compiled = torch.jit.script(module)
            else:
                compiled = torch.jit.trace(module, examples[0], check_trace=False)
        except Exception as error:  # TorchScript raises whatever the module's code leads it to.
            other = "trace" if method == "script" else "script"
            raise ExportError(f"torch.jit.{method} refused {type(module).__name__}: "
                              f"{first_line(error)}; try --method {other}") from error
        torch.jit.save(compiled, path)
        loaded = torch.jit.load(path)
        for example in examples:
            check(module, loaded, example)


def check(module, loaded, example: tuple) -> None:
    """ExportError unless `loaded` answers `example` as `module` does."""
    import torch

    shapes = [list(tensor.shape) for tensor in example]
    expected = module(*example)
    try:
        actual = loaded(*example)
    except RuntimeError as error:
        raise ExportError(f"the exported model fails on inputs of shape {shapes}: "
                          f"{last_line(error)}") from error
    if not isinstance(actual, torch.Tensor):
        raise ExportError(f"the exported model answers a {type(actual).__name__}, expected one "
                          "tensor; try --method trace")
    if actual.shape != expected.shape:
        raise ExportError(f"the exported model answers shape {list(actual.shape)} to inputs of "
                          f"shape {shapes}, expected {list(expected.shape)}")
    difference = (actual - expected).abs().max().item()
    allowed = DIFFERENCE_MAX * max(1.0, expected.abs().max().item())
    if not difference <= allowed:  # Written so that NaN fails, too.
        raise ExportError(f"the exported model differs from eager by {difference:.3g} on inputs of "
                          f"shape {shapes}, expected at most {allowed:.3g}")


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
