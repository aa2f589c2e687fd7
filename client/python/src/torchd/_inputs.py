"""From what a caller has to the items of calls."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from torchd.v1 import inference_pb2 as pb

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image

    Array: TypeAlias = np.ndarray[Any, Any]

# A path names a file with an image, bytes are such a file's contents, a str is a text, an array or a
# mapping of arrays are the model's own inputs.
Input: TypeAlias = Union[
    "os.PathLike[str]", bytes, bytearray, memoryview, str, "PIL.Image.Image", "Array",
    "Mapping[str, Array]",
]

# Of one call; more inputs make more calls. The server takes 64 and 64 MiB.
ITEMS_MAX = 64
BYTES_MAX = 32 * 1024 * 1024

_DATA_TYPES = {
    "uint8": pb.DATA_TYPE_UINT8,
    "int32": pb.DATA_TYPE_INT32,
    "int64": pb.DATA_TYPE_INT64,
    "float32": pb.DATA_TYPE_FLOAT32,
}
# What a PNG holds as it is; all others are turned into RGB, but those with transparency.
_PNG_MODES = {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"}
_KEEPS_ALPHA = {"La": "LA", "PA": "RGBA", "RGBa": "RGBA"}
_ORIENTATION = 0x0112  # Of EXIF.


def _is_instance(value: object, module: str, name: str) -> bool:
    """Without importing what is optional: a value of its type proves that it was imported."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(value, getattr(loaded, name))


def _upright(image: PIL.Image.Image) -> PIL.Image.Image:
    """As the server turns the file that it was read from."""
    if image.getexif().get(_ORIENTATION, 1) == 1:
        return image
    import PIL.ImageOps

    return PIL.ImageOps.exif_transpose(image)


def _png(image: PIL.Image.Image) -> bytes:
    image = _upright(image)
    if image.mode not in _PNG_MODES:
        image = image.convert(_KEEPS_ALPHA.get(image.mode, "RGB"))
    buffer = io.BytesIO()
    # The network is near, so time counts for more than bytes.
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _tensor(array: Array, name: str) -> pb.Tensor:
    data_type = _DATA_TYPES.get(array.dtype.name)
    if data_type is None:
        raise TypeError(
            f"array{f' {name!r}' if name else ''} of {array.dtype}; "
            f"expected one of {', '.join(_DATA_TYPES)}"
        )
    return pb.Tensor(
        name=name, data_type=data_type, shape=array.shape,
        data=array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes(),
    )


def make_item(value: Input, pair: str | None = None) -> pb.ClassifyItem:
    """Reads the file of a path. OSError where that fails; TypeError for what is no input."""
    if pair is not None:
        if not isinstance(value, str) or not isinstance(pair, str):
            raise TypeError(
                f"a pair of {type(value).__name__} and {type(pair).__name__}; expected two str"
            )
        return pb.ClassifyItem(text_pair=pb.TextPair(first=value, second=pair))
    if isinstance(value, str):
        return pb.ClassifyItem(text=value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return pb.ClassifyItem(image=bytes(value))
    if isinstance(value, os.PathLike):
        with open(value, "rb") as file:
            return pb.ClassifyItem(image=file.read())
    if _is_instance(value, "PIL.Image", "Image"):
        return pb.ClassifyItem(image=_png(value))  # type: ignore[arg-type]
    if _is_instance(value, "numpy", "ndarray"):
        return pb.ClassifyItem(
            tensors=pb.TensorInput(tensors=[_tensor(value, "")])  # type: ignore[arg-type]
        )
    if isinstance(value, Mapping):
        tensors = [_tensor(array, name) for name, array in value.items()]
        return pb.ClassifyItem(tensors=pb.TensorInput(tensors=tensors))
    raise TypeError(
        f"an input of {type(value).__name__}; expected a pathlib.Path, bytes, a PIL image, a numpy "
        "array, a dict of arrays or a str"
    )


def second_texts(pairs: Sequence[str] | None, inputs: int) -> Sequence[str | None]:
    """Of a list of `inputs`, each one's second text."""
    if pairs is None:
        return [None] * inputs
    if isinstance(pairs, str) or len(pairs) != inputs:
        given = "a str" if isinstance(pairs, str) else f"{len(pairs)} texts"
        raise ValueError(f"text_pair is {given} beside {inputs} inputs; expected a list of as many")
    return pairs


def chunks(
    values: Sequence[Input], pairs: Sequence[str | None]
) -> Iterator[list[pb.ClassifyItem]]:
    """As few calls as the limits allow. Files are read when their call's turn comes."""
    chunk: list[pb.ClassifyItem] = []
    size = 0
    for value, pair in zip(values, pairs, strict=True):
        item = make_item(value, pair)
        more = item.ByteSize()
        if chunk and (len(chunk) == ITEMS_MAX or size + more > BYTES_MAX):
            yield chunk
            chunk, size = [], 0
        chunk.append(item)
        size += more
    if chunk:
        yield chunk


def _is_picture(array: Array) -> bool:
    return array.dtype.name == "uint8" and array.ndim == 3 and array.shape[2] in (1, 3, 4)


def advice(values: Sequence[Input]) -> str:
    """What may have been meant where a text was refused."""
    for value in values:
        if isinstance(value, str) and len(value) < 4096 and "\0" not in value:
            if os.path.isfile(value):
                return f"; a str is a text: for the file, pass pathlib.Path({value!r})"
        if _is_instance(value, "numpy", "ndarray") and _is_picture(value):  # type: ignore[arg-type]
            return (
                "; an array is the model's input as it is: for a picture of any size, pass "
                "PIL.Image.fromarray(array)"
            )
    return ""
