"""Models that AOTInductor compiled are served like the others."""

import fcntl
import json
import os
import struct
import zipfile

import numpy as np
import pytest
import torch
import yaml

import harness
import small_models
import wire
from test_bad_models import models

TORCH = torch.__version__.split("+")[0]


@pytest.fixture(scope="session")
def packages(tmp_path_factory):
    """The repository and the eager module. `fixed` takes one row, `any` any number, `three` three;
    `corrupt` lost its end, `renamed` is TorchScript."""
    repository = tmp_path_factory.mktemp("packages")
    eager = small_models.Linear(1).eval()
    for name, rows in {"fixed": 1, "any": 2, "three": 3}.items():
        folder = repository / name / "1"
        folder.mkdir(parents=True)
        batch = {0: torch.export.Dim("batch", min=1, max=64)} if name == "any" else None
        with torch.no_grad():
            program = torch.export.export(eager, (torch.ones(rows, 4),),
                                          dynamic_shapes=(batch,) if batch else None)
            torch._inductor.aoti_compile_and_package(
                program, package_path=str(folder / "model.pt2"),
                inductor_configs={"freezing": True, "cpp.dynamic_threads": True})
        inputs = [{"name": "x", "data_type": "float32", "shape": [4]}]
        (repository / name / "model.yaml").write_text(
            yaml.safe_dump({"inputs": inputs, "softmax": False}))
    for name in ("corrupt", "renamed"):
        (repository / name / "1").mkdir(parents=True)
    whole = (repository / "any/1/model.pt2").read_bytes()
    (repository / "corrupt/1/model.pt2").write_bytes(whole[: len(whole) // 2])
    torch.jit.script(eager).save(str(repository / "renamed/1/model.pt2"))
    return repository, eager


def test_packages_answer_as_eager_does_and_leave_no_files(packages, tmp_path):
    repository, eager = packages
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    rows = torch.tensor([[1.0, -2.0, 3.0, 0.5], [0.0, 1.0, 0.0, 1.0], [-1.0, 0.5, 2.0, 4.0]])
    with harness.serving(tmp_path, repository, environment={"TMPDIR": str(scratch)}) as own:
        for name in ("fixed", "any"):
            results = own.classify(name, *map(wire.row, rows.numpy()), softmax=False).results
            with torch.no_grad():
                expected = eager(rows).numpy()
            for result, scores in zip(results, expected, strict=True):
                assert np.abs(wire.probabilities(result) - scores).max() <= 1e-5
        assert list(scratch.iterdir()) == []
        own.terminate()
        assert own.exit_code() == 0
    assert list(scratch.iterdir()) == []


def test_what_is_no_package_is_unavailable_with_its_reason(packages, tmp_path):
    with harness.serving(tmp_path, packages[0]) as own:
        listed = {name: one for (name, _), one in models(own).items()}
        assert listed["any"]["state"] == "READY" and listed["fixed"]["state"] == "READY"
        for name, part in {"corrupt": "archive", "renamed": "model.pt",
                           "three": "--dynamic-batch"}.items():
            assert listed[name]["state"] == "UNAVAILABLE", name
            assert part in listed[name]["reason"], listed[name]
            assert "\n" not in listed[name]["reason"]


def crashing(package: bytes) -> bytes:
    """Its code is nothing but breakpoints: whoever loads it is killed."""
    code = bytearray(package)
    headers, = struct.unpack_from("<Q", code, 0x28)
    size, count = struct.unpack_from("<HH", code, 0x3A)
    for header in range(headers, headers + count * size, size):
        kind, flags, offset, length = struct.unpack_from("<4xIQ8xQQ", code, header)
        if kind == 1 and flags & 4:  # Bytes that are executed.
            code[offset:offset + length] = b"\xcc" * length
    return bytes(code)


def test_package_that_crashes_leaves_no_files(packages, tmp_path):
    """A trial that is killed cannot tidy up, so the daemon does."""
    repository, scratch = tmp_path / "models", tmp_path / "scratch"
    scratch.mkdir()
    (repository / "crashes/1").mkdir(parents=True)
    with zipfile.ZipFile(packages[0] / "any/1/model.pt2") as whole, zipfile.ZipFile(
            repository / "crashes/1/model.pt2", "w") as changed:
        for name in whole.namelist():
            data = whole.read(name)
            changed.writestr(name, crashing(data) if name.endswith(".so") else data)
    with harness.serving(tmp_path, repository, environment={"TMPDIR": str(scratch)}) as own:
        listed = models(own)[("crashes", 1)]
        assert "trial process was killed by SIG" in listed["reason"]
        assert list(scratch.iterdir()) == []


def test_package_by_another_torch_says_so(packages, tmp_path):
    repository = tmp_path / "models"
    (repository / "old/1").mkdir(parents=True)
    with zipfile.ZipFile(packages[0] / "any/1/model.pt2") as whole, zipfile.ZipFile(
            repository / "old/1/model.pt2", "w") as changed:
        for name in whole.namelist():
            data = whole.read(name)
            if name.endswith("wrapper_metadata.json"):
                data = json.dumps({**json.loads(data), "TORCH_VERSION": "2.5.1+cpu"})
            changed.writestr(name, data)
    with harness.serving(tmp_path, repository) as own:
        listed = models(own)[("old", 1)]
        assert listed["state"] == "UNAVAILABLE"
        assert (f"the package is compiled by torch 2.5.1+cpu, this server runs LibTorch {TORCH}: export it "
                "with that version") in listed["reason"]


def test_what_a_killed_daemon_left_is_removed_and_no_more(packages, tmp_path):
    scratch = tmp_path / "scratch"
    for name in ("torchd-pt2-killed", "torchd-pt2-living", "other"):
        (scratch / name).mkdir(parents=True)
        (scratch / name / "model.so").write_bytes(b"code")
    living = os.open(scratch / "torchd-pt2-living", os.O_RDONLY)
    fcntl.flock(living, fcntl.LOCK_EX)  # As another daemon does.
    with harness.serving(tmp_path, packages[0], environment={"TMPDIR": str(scratch)}):
        assert {one.name for one in scratch.iterdir()} == {"torchd-pt2-living", "other"}
    os.close(living)
