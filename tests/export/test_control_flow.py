"""What a trace loses is said in a line for each place, and a mix keeps it."""

import pytest
import torch

from test_export import ROOT  # noqa: F401 (puts the exporter on the path)
from torchd_export import ExportError, aot_package, control_flow, torchscript


class Branch(torch.nn.Module):
    def forward(self, x):
        if bool(x.sum() > 0):
            return x * 2
        return x - 1


class Unscriptable(torch.nn.Module):
    """Its dictionary display is more than TorchScript takes."""

    def forward(self, x, **_):
        return x * {**{"factor": 3}}["factor"]


class BranchesWithin(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = Unscriptable()
        self.rest = torch.nn.Sequential(Branch(), Branch())

    def forward(self, x):
        return self.rest(self.first(x))


class BranchAroundUnscriptable(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.parts = torch.nn.ModuleList([Unscriptable(), Branch()])

    def forward(self, x):
        for part in self.parts:
            x = part(x)
        if bool(x.max() > 3):
            x = x + 100
        return x


class UnscriptableBranch(torch.nn.Module):
    def forward(self, x, **_):
        return x * 2 if bool(x.sum() > 0) else x


class Losses(torch.nn.Module):
    def forward(self, x):
        total = x.new_zeros(x.shape[1])
        for row in x:
            total = total + row
        return total * float(x.shape[0]) + len(x)


EXAMPLES = [(torch.ones(2, 4),), (-torch.ones(3, 4),), (torch.full((1, 4), 0.1),)]


@pytest.mark.parametrize("module", [BranchesWithin, BranchAroundUnscriptable])
def test_a_mix_keeps_branches_that_neither_script_nor_trace_does(tmp_path, module):
    model, path = module(), tmp_path / "model.pt"
    for method in ("script", "trace"):
        with pytest.raises(ExportError, match="try --method mix"):
            torchscript.save(model, method, EXAMPLES, path)
    assert torchscript.save(model, "mix", EXAMPLES, path) == []
    # The eager model is still as it was.
    assert not any(isinstance(part, torch.jit.ScriptModule) for part in model.modules())


def test_a_branch_that_cannot_be_scripted_is_lost_and_named(tmp_path):
    with pytest.raises(ExportError) as refused:
        torchscript.save(UnscriptableBranch(), "mix", EXAMPLES, tmp_path / "model.pt")
    assert "differs from eager" in str(refused.value)
    assert "test_control_flow.py:" in str(refused.value)
    assert "a branch that depends on a tensor" in str(refused.value)
    assert str(ROOT) not in str(refused.value)


def test_each_loss_is_one_line_however_often_it_runs():
    with torch.no_grad():
        _, lost = control_flow.trace(torch.nn.Sequential(Losses(), torch.nn.Identity()),
                                     EXAMPLES[0])
        _, twice = control_flow.trace(torch.nn.Sequential(Branch(), Branch()), EXAMPLES[0])
    assert [(loss.file, loss.meaning.split(";")[0]) for loss in lost] == [
        ("test_control_flow.py", "a loop over a tensor"),
        ("test_control_flow.py", "a number out of a tensor"),
        ("test_control_flow.py", "the length of a tensor")]
    assert len(twice) == 1


class BatchOfTwo(torch.nn.Module):
    def forward(self, x):
        return x.reshape(2, 4) * 2


@pytest.mark.parametrize("module, dynamic_batch, message", [
    (Branch, False, "a branch that depends on a tensor at test_control_flow.py:"),
    (BatchOfTwo, True, "specialized it to be a constant (2)")])
def test_what_torch_export_refuses_is_one_line(tmp_path, capfd, module, dynamic_batch, message):
    with pytest.raises(ExportError) as refused:
        aot_package.save(module(), EXAMPLES[:1] if dynamic_batch else EXAMPLES[2:],
                         tmp_path / "model.pt2", dynamic_batch)
    assert message in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("text, reason", [
    ("InvalidCxxCompiler: No working C++ compiler found in x: (None, 'g++')\n",
     "no C++ compiler that works; expected g++ on the PATH"),
    ("CppCompileError: C++ compile error\n\nCommand:\ng++ x.cpp\n\nOutput:\n/tmp/a/x.cpp:7:5: error: "
     "'y' is no type\n  7 | y z;\n", "error: 'y' is no type")])
def test_what_the_compiler_refuses_is_one_line(text, reason):
    assert aot_package._reason(RuntimeError(text)) == reason
