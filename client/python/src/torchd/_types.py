"""What a client gets back. None of it changes once it is made."""

from __future__ import annotations

import dataclasses
import enum

from torchd._errors import TorchdError


class Priority(enum.Enum):
    """Who goes first where requests wait."""

    HIGH = 1
    NORMAL = 2
    LOW = 3


class Health(enum.Enum):
    """What a server says of itself or of a model."""

    SERVING = "serving"
    NOT_SERVING = "not serving"
    UNKNOWN_SERVICE = "unknown service"
    UNREACHABLE = "unreachable"


@dataclasses.dataclass(frozen=True)
class Class:
    index: int  # Position in the model's output.
    label: str  # Empty where the model has none.
    probability: float  # The model's own score where it was asked for, or configured.


@dataclasses.dataclass(frozen=True)
class StageTimes:
    """Wall-clock time inside the server, seconds."""

    preprocess: float
    queue: float
    execute: float
    postprocess: float
    total: float


@dataclasses.dataclass(frozen=True)
class Classification:
    """What became of one input. Of several in one call each may fail by itself."""

    model: str
    version: int
    classes: tuple[Class, ...]  # Most probable first; empty with an error.
    times: StageTimes
    non_finite: bool  # Scores that were NaN or infinite are left out.
    error: TorchdError | None = None

    @property
    def top(self) -> Class:
        """The most probable class; raises `error` if there is one."""
        if self.error is not None:
            raise self.error
        return self.classes[0]


@dataclasses.dataclass(frozen=True)
class TensorInfo:
    name: str
    data_type: str  # "uint8", "int32", "int64" or "float32".
    shape: tuple[int, ...]  # Of one item; -1 is any size.


@dataclasses.dataclass(frozen=True)
class ImageInput:
    """What becomes of an image before it is the model's input."""

    formats: tuple[str, ...]
    preset: str  # Empty: numbers of the owner's own.
    resize: int
    crop: int
    filter: str
    antialias: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class TextInput:
    """What becomes of a text."""

    tokens_max: int
    lengths: tuple[int, ...]
    lowercase: bool
    bytes_max: int


@dataclasses.dataclass(frozen=True)
class Model:
    """One version of a model. What it takes is known once it is READY."""

    name: str
    version: int
    state: str  # "READY", "LOADING", "UNLOADING", "UNAVAILABLE" or "UNKNOWN".
    reason: str  # Why it does not serve.
    takes: tuple[str, ...]  # Of "image", "text", "tensor".
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    labels: int
    version_labels: tuple[str, ...]
    image: ImageInput | None
    text: TextInput | None

    @property
    def ready(self) -> bool:
        return self.state == "READY"
