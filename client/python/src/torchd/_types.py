"""What a client gets back. None of it changes once it is made."""

from __future__ import annotations

import dataclasses
import enum

import grpc

from torchd._errors import TorchdError


class Priority(enum.Enum):
    """Who goes first where requests wait."""

    HIGH = 1
    NORMAL = 2
    LOW = 3


class Activation(enum.Enum):
    """What the model's scores become."""

    NONE = 1  # Nothing: the model's own.
    SOFTMAX = 2  # Probabilities over all classes.
    SIGMOID = 3  # A probability of each class for itself, where several may hold.


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
    classes: tuple[Class, ...]  # Most probable first; none with an error, or above a threshold.
    times: StageTimes
    non_finite: bool  # Scores that were NaN or infinite are left out.
    error: TorchdError | None = None

    @property
    def top(self) -> Class:
        """The most probable class; raises `error`, or a TorchdError where no class is left."""
        if self.error is not None:
            raise self.error
        if not self.classes:
            raise TorchdError(
                grpc.StatusCode.OUT_OF_RANGE,
                f"model {self.model!r} left no class: none has a score that reaches the threshold",
            )
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
    layout: str  # Of the model's input: "chw" or "hwc".
    data_type: str  # "float32"; or "uint8", where mean, std and scale do not count.
    scale: float | None  # What levels of 0..255 are multiplied by first.


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
    activation: str  # Unless a request says otherwise: "softmax", "sigmoid" or "none".
    threshold: float | None  # Likewise; None: no class is left out.

    @property
    def ready(self) -> bool:
        return self.state == "READY"
