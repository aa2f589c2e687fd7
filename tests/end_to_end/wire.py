"""The wire contract as Python modules, generated from proto/ when the tests start, beside a copy of
the Python client; and the few lines that every test needs to build a request."""

import atexit
import pathlib
import shutil
import sys
import tempfile

import grpc_tools
import numpy as np
from grpc_tools import protoc

ROOT = pathlib.Path(__file__).resolve().parents[2]


def _generate() -> None:
    folder = tempfile.mkdtemp(prefix="torchd-stubs-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    files = sorted(str(path) for path in (ROOT / "proto/torchd/v1").glob("*.proto"))
    includes = [f"-I{ROOT / 'proto'}", f"-I{pathlib.Path(grpc_tools.__file__).parent / '_proto'}"]
    # Both are called torchd, so that one folder has to hold them.
    shutil.copytree(ROOT / "client/python/src/torchd", pathlib.Path(folder, "torchd"))
    outputs = [f"--python_out={folder}", f"--grpc_python_out={folder}"]
    if protoc.main(["protoc", *includes, *outputs, *files]) != 0:
        raise RuntimeError(f"protoc refused {files}")
    sys.path.insert(0, folder)


_generate()
# They exist only now.
from torchd.v1 import admin_pb2 as admin  # noqa: E402,F401
from torchd.v1 import admin_pb2_grpc as admin_grpc  # noqa: E402,F401
from torchd.v1 import benchmark_pb2 as benchmark  # noqa: E402,F401
from torchd.v1 import benchmark_pb2_grpc as benchmark_grpc  # noqa: E402,F401
from torchd.v1 import inference_pb2 as inference  # noqa: E402
from torchd.v1 import inference_pb2_grpc as inference_grpc  # noqa: E402,F401

_TYPES = {
    np.dtype(np.uint8): inference.DATA_TYPE_UINT8,
    np.dtype(np.int32): inference.DATA_TYPE_INT32,
    np.dtype(np.int64): inference.DATA_TYPE_INT64,
    np.dtype(np.float32): inference.DATA_TYPE_FLOAT32,
}


def tensor(array, name="") -> inference.Tensor:
    array = np.ascontiguousarray(array)
    return inference.Tensor(
        name=name, data_type=_TYPES[array.dtype], shape=array.shape, data=array.tobytes()
    )


def tensors(*made: inference.Tensor) -> inference.ClassifyItem:
    return inference.ClassifyItem(tensors=inference.TensorInput(tensors=made))


def row(values, name="") -> inference.ClassifyItem:
    """An item of one float32 tensor."""
    return tensors(tensor(np.asarray(values, np.float32), name))


def image(data: bytes) -> inference.ClassifyItem:
    return inference.ClassifyItem(image=data)


def text(words: str) -> inference.ClassifyItem:
    return inference.ClassifyItem(text=words)


def request(model, *items, **options) -> inference.ClassifyRequest:
    return inference.ClassifyRequest(model=model, items=items, **options)


def probabilities(result) -> np.ndarray:
    """The classes of a result in the order of their index; requires that it has all of them."""
    values = np.full(len(result.classes), np.nan, np.float64)
    for found in result.classes:
        values[found.index] = found.probability
    assert not np.isnan(values).any(), "classes are missing or doubled"
    return values
