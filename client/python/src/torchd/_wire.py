"""Between the messages of the wire and this package's types."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import grpc

from torchd._errors import InvalidInput, NotFound, TorchdError, Unavailable, error_from_number
from torchd._inputs import Input, advice
from torchd._types import (
    Activation,
    Class,
    Classification,
    ImageInput,
    Model,
    Priority,
    StageTimes,
    TensorInfo,
    TextInput,
)
from torchd.v1 import admin_pb2
from torchd.v1 import inference_pb2 as pb

CLASSIFY = "/torchd.v1.InferenceService/Classify"
LIST_MODELS = "/torchd.v1.AdminService/ListModels"
WATCH = "/grpc.health.v1.Health/Watch"
NO_TIMES = StageTimes(0, 0, 0, 0, 0)


@dataclasses.dataclass(frozen=True)
class Asked:
    """How a call of classify() is to be answered."""

    model: str
    version: int
    version_label: str
    top_k: int | None
    softmax: bool | None
    activation: Activation | None
    threshold: float | None
    priority: Priority

    def request(self, items: Iterable[pb.ClassifyItem]) -> pb.ClassifyRequest:
        request = pb.ClassifyRequest(
            model=self.model, version=self.version, version_label=self.version_label, items=items,
            priority=pb.Priority.Name(self.priority.value),
            activation=pb.Activation.Name(self.activation.value if self.activation else 0),
        )
        if self.top_k is not None:
            request.top_k = self.top_k
        if self.softmax is not None:
            request.softmax = self.softmax
        if self.threshold is not None:
            request.threshold = self.threshold
        return request


def _classification(response: pb.ClassifyResponse, result: pb.ClassifyResult) -> Classification:
    times = result.times
    error = None
    if result.HasField("error"):
        error = error_from_number(result.error.code, result.error.message)
    return Classification(
        model=response.model,
        version=response.version,
        classes=tuple(Class(one.index, one.label, one.probability) for one in result.classes),
        times=StageTimes(
            times.preprocess_us / 1e6, times.queue_us / 1e6, times.execute_us / 1e6,
            times.postprocess_us / 1e6, times.total_us / 1e6,
        ),
        non_finite=result.non_finite,
        error=error,
    )


def classifications(response: pb.ClassifyResponse, items: int) -> list[Classification]:
    if len(response.results) != items:
        message = f"the server sent {len(response.results)} results for {items} items"
        raise TorchdError(grpc.StatusCode.INTERNAL, message)
    return [_classification(response, result) for result in response.results]


def failed_alone(error: TorchdError, items: int) -> list[Classification]:
    """A call with one item fails with that item's status; of several inputs that costs no other."""
    if items != 1 or isinstance(error, (NotFound, Unavailable)):
        raise error
    return [Classification("", 0, (), NO_TIMES, False, error)]


def with_advice(error: TorchdError, values: Sequence[Input]) -> TorchdError:
    if not isinstance(error, InvalidInput):
        return error
    return InvalidInput(error.code, error.message + advice(values))


def _tensors(tensors: Iterable[admin_pb2.TensorDescription]) -> tuple[TensorInfo, ...]:
    return tuple(TensorInfo(one.name, one.data_type, tuple(one.shape)) for one in tensors)


def _image(image: admin_pb2.ImageInput) -> ImageInput:
    return ImageInput(
        tuple(image.formats), image.preset, image.resize, image.crop, image.filter,
        image.antialias, tuple(image.mean), tuple(image.std), image.layout, image.data_type,
        image.scale if image.HasField("scale") else None,
    )


def _text(text: admin_pb2.TextInput) -> TextInput:
    return TextInput(text.tokens_max, tuple(text.lengths), text.lowercase, text.bytes_max)


def _model(version: admin_pb2.ModelVersion) -> Model:
    try:
        state = admin_pb2.VersionState.Name(version.state).removeprefix("VERSION_STATE_")
    except ValueError:  # A newer server knows more of them.
        state = "UNKNOWN"
    return Model(
        name=version.name,
        version=version.version,
        state=state,
        reason=version.reason,
        takes=tuple(version.takes),
        inputs=_tensors(version.inputs),
        outputs=_tensors(version.outputs),
        labels=version.labels,
        version_labels=tuple(version.version_labels),
        image=_image(version.image) if version.HasField("image") else None,
        text=_text(version.text) if version.HasField("text") else None,
        activation=version.activation,
        threshold=version.threshold if version.HasField("threshold") else None,
    )


def models(response: admin_pb2.ListModelsResponse) -> list[Model]:
    return [_model(version) for version in response.models]


def one_ready(listed: list[Model], name: str) -> Model:
    """The version that answers without further words: of the only model, if `name` is empty."""
    names = {one.name for one in listed}
    if not name and len(names) > 1:
        message = f"the server has {len(names)} models; name one of {', '.join(sorted(names))}"
        raise InvalidInput(grpc.StatusCode.INVALID_ARGUMENT, message)
    ready = [one for one in listed if one.ready]
    if ready:
        return max(ready, key=lambda one: one.version)
    reasons = "; ".join(f"{one.version}: {one.state} {one.reason}".rstrip() for one in listed)
    message = f"model {name!r} has no version that is ready ({reasons or 'there is no model'})"
    raise Unavailable(grpc.StatusCode.UNAVAILABLE, message)
