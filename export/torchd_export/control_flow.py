"""What a trace loses of a model's Python, said in one line each, and how a mix keeps it.

A trace records what one example led to: a branch that depends on a tensor becomes the branch that
the example took. torch warns of each such place, in its own words and many times over.
"""

import contextlib
import dataclasses
import pathlib
import sys
import warnings

# The start of torch's warning, then what it means.
_MEANINGS = (
    ("Converting a tensor to a Python boolean",
     "a branch that depends on a tensor; the trace always takes the example's"),
    ("Iterating over a tensor", "a loop over a tensor; the trace keeps the example's rounds"),
    ("Using len", "the length of a tensor; the trace keeps the example's"),
    ("Converting a tensor", "a number out of a tensor; the trace keeps the example's"),
    ("torch.tensor results", "a tensor out of Python values; the trace keeps the example's"),
    ("torch.from_numpy results", "a tensor out of Python values; the trace keeps the example's"),
)


@dataclasses.dataclass(frozen=True)
class Loss:
    """One place where a trace is less than the Python it followed."""

    file: str  # Below the folder that Python imports it from.
    line: int
    meaning: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.meaning}"


def trace(module, example: tuple):
    """The traced `module`, and what that loses: a list of Loss, each once."""
    compiled, lost = _watched_trace(module, example)
    return compiled, list(dict.fromkeys(loss for loss, _ in lost))


def mix(module, example: tuple):
    """As trace(), but a module whose own code loses something is scripted where that is possible.

    What is left in the list are places in modules that cannot be scripted.
    """
    compiled, lost = _watched_trace(module, example)
    if not lost:
        return compiled, []
    owners = {id(owner): owner for _, owner in lost}.values()
    inputs = _inputs_of_all(module, example)
    with _StandIns(module) as stand_ins:
        # The innermost first, so that the outer ones find them scripted.
        for owner in sorted(owners, key=lambda one: -_depth(module, one)):
            scripted = _script(owner, inputs, stand_ins)
            if scripted is None:
                continue
            if owner is module:
                return scripted, []
            stand_ins.put(owner, scripted)
        return trace(module, example)


def _watched_trace(module, example: tuple):
    """The traced module and [(Loss, the innermost module that ran)]."""
    import torch

    running, lost = [module], []

    def enter(entered, _):
        running.append(entered)

    def leave(*_):
        running.pop()

    def note(message, category, filename, lineno, file=None, line=None):
        if issubclass(category, torch.jit.TracerWarning):
            lost.append((Loss(below_import_folder(filename), lineno, _meaning(str(message))),
                         running[-1]))

    with contextlib.ExitStack() as stack:
        hooks = torch.nn.modules.module
        stack.callback(hooks.register_module_forward_pre_hook(enter).remove)
        stack.callback(hooks.register_module_forward_hook(leave).remove)
        stack.enter_context(warnings.catch_warnings())  # Also puts showwarning back.
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", torch.jit.TracerWarning)
        warnings.showwarning = note
        return torch.jit.trace(module, example, check_trace=False), lost


def _script(owner, inputs: dict, stand_ins: "_StandIns"):
    """`owner` scripted, where need be with traced children; None if even that is refused."""
    scripted = _script_alone(owner)
    if scripted is not None:
        return scripted
    for child in _called_children(owner):
        args = inputs.get(id(child))
        if args and _script_alone(child) is None:
            with contextlib.suppress(Exception):  # Then the owner is refused again.
                stand_ins.put(child, trace(child, args)[0])
    return _script_alone(owner)


def _script_alone(module):
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return torch.jit.script(module)
        except Exception:  # TorchScript raises whatever the module's code leads it to.
            return None


def _called_children(module):
    """The modules that `module` calls itself: also those in its lists."""
    import torch

    for child in module.children():
        if isinstance(child, (torch.nn.ModuleList, torch.nn.ModuleDict)):
            yield from _called_children(child)
        else:
            yield child


def _inputs_of_all(module, example: tuple) -> dict[int, tuple]:
    """By module, the tensors of its first call; none of a call that a trace could not repeat."""
    import torch

    inputs: dict[int, tuple] = {}

    def note(entered, args, named):
        if not named and all(isinstance(one, torch.Tensor) for one in args):
            inputs.setdefault(id(entered), args)

    handles = [one.register_forward_pre_hook(note, with_kwargs=True) for one in module.modules()]
    try:
        module(*example)
    finally:
        for handle in handles:
            handle.remove()
    return inputs


class _StandIns(contextlib.AbstractContextManager):
    """Puts modules in the places of others until the end of the block."""

    def __init__(self, root):
        self._root = root
        self._replaced = []  # [(parent, name, module)]

    def put(self, module, stand_in) -> None:
        for parent in list(self._root.modules()):
            for name, child in parent._modules.items():
                if child is module:
                    self._replaced.append((parent, name, module))
                    parent._modules[name] = stand_in

    def __exit__(self, *_) -> None:
        for parent, name, module in reversed(self._replaced):
            parent._modules[name] = module


def _depth(root, module) -> int:
    return next(len(name.split(".")) if name else 0
                for name, one in root.named_modules() if one is module)


def _meaning(warning: str) -> str:
    for start, meaning in _MEANINGS:
        if warning.startswith(start):
            return meaning
    return warning.split(". ")[0].splitlines()[0]


def below_import_folder(filename: str) -> str:
    """The path as a reader of the package knows it, whatever the machine."""
    path = pathlib.Path(filename).resolve()
    folders = [pathlib.Path(folder).resolve() for folder in sys.path]
    above = [folder for folder in folders if path.is_relative_to(folder)]
    # The longest: a virtual environment may lie in a folder that is imported from, too.
    longest = max(above, key=lambda folder: len(folder.parts), default=path.parent)
    return path.relative_to(longest).as_posix()
