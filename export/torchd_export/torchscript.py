"""From an eager module to a TorchScript file that provably answers the same."""

import pathlib
import warnings

from torchd_export import ExportError, control_flow

METHODS = ("script", "trace", "mix")
DIFFERENCE_MAX = 1e-5  # Absolute, for answers up to 1; beyond, relative to the largest.


def save(module, method: str, examples: list[tuple], path: pathlib.Path) -> list[str]:
    """Writes `module` to `path` by script, trace or mix (of the first example), reads it back.

    ExportError if the file answers any of `examples` differently from `module`. They should
    vary in every dimension that may vary when served: a trace can freeze what it saw. Where it
    may have is what is returned, a line for each place.
    """
    import torch

    module.eval()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, it says at every step.
        compiled, lost = _compile(module, method, examples[0])
        torch.jit.save(compiled, path)
        loaded = torch.jit.load(path)
        for example in examples:
            try:
                check(module, loaded, example)
            except ExportError as error:
                if not lost:
                    raise
                raise ExportError(f"{error}; {lost[0]}" + (
                    "; try --method mix" if method == "trace" else "")) from error
    return [str(loss) for loss in lost]


def _compile(module, method: str, example: tuple):
    """The compiled module, and what a trace lost of it: a list of control_flow.Loss."""
    import torch

    try:
        if method == "script":
            return torch.jit.script(module), []
        return getattr(control_flow, method)(module, example)
    except Exception as error:  # TorchScript raises whatever the module's code leads it to.
        step, other = ("script", "mix") if method == "script" else ("trace", "script")
        raise ExportError(f"torch.jit.{step} refused {type(module).__name__}: {first_line(error)}; "
                          f"try --method {other}") from error


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
