"""Asks a torchd server to classify images, texts and tensors.

    import pathlib, torchd

    with torchd.Client("127.0.0.1:8001") as client:
        print(client.classify(pathlib.Path("cat.jpg")).top.label)
"""

from torchd._aio import AsyncClient
from torchd._channel import RetryPolicy
from torchd._client import Client, HealthWatch
from torchd._errors import (
    DeadlineExceeded,
    InvalidInput,
    NotFound,
    Overloaded,
    TorchdError,
    Unavailable,
)
from torchd._inputs import Input
from torchd._types import (
    Activation,
    Class,
    Classification,
    Health,
    ImageInput,
    Model,
    Priority,
    StageTimes,
    TensorInfo,
    TextInput,
)

__all__ = [
    "Activation",
    "AsyncClient",
    "Class",
    "Classification",
    "Client",
    "DeadlineExceeded",
    "Health",
    "HealthWatch",
    "ImageInput",
    "Input",
    "InvalidInput",
    "Model",
    "NotFound",
    "Overloaded",
    "Priority",
    "RetryPolicy",
    "StageTimes",
    "TensorInfo",
    "TextInput",
    "TorchdError",
    "Unavailable",
]
