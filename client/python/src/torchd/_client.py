"""The client for threads. `_aio.py` is the same for asyncio."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import overload

import grpc

from torchd import _health, _wire
from torchd._channel import RetryPolicy, channel_options, target_of
from torchd._errors import TorchdError, Unavailable, error_from_call
from torchd._inputs import Input, chunks, second_texts
from torchd._types import Activation, Classification, Health, Model, Priority
from torchd.v1 import admin_pb2
from torchd.v1 import inference_pb2 as pb


class HealthWatch:
    """The states of a server or a model, from now on, each as it comes; ends with close().

    A connection that is lost is UNREACHABLE until there is one again.
    """

    def __init__(self, channel: grpc.Channel, service: str) -> None:
        self._call = channel.unary_stream(
            _wire.WATCH, request_serializer=_health.serialized,
            response_deserializer=_health.state,
        )
        self._service = service
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._cancel: Callable[[], object] = lambda: None  # Of the stream; under the lock.

    def __iter__(self) -> Iterator[Health]:
        last: Health | None = None
        failures = 0
        while not self._closed.wait(_health.pause_after(failures) if failures else 0):
            try:
                for state in self._open():
                    failures = 0
                    if state is not last:
                        last = state
                        yield state
            except grpc.RpcError:
                pass  # Whatever it was, there is nobody to ask now.
            failures += 1
            if last is not Health.UNREACHABLE and not self._closed.is_set():
                last = Health.UNREACHABLE
                yield last

    def _open(self) -> Iterator[Health]:
        with self._lock:
            if self._closed.is_set():
                return iter(())
            stream = self._call(_health.request(self._service))
            self._cancel = stream.cancel
            return stream

    def close(self) -> None:
        """From any thread; who waits for the next state stops waiting."""
        with self._lock:
            self._closed.set()
            self._cancel()

    def __enter__(self) -> HealthWatch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Client:
    """Talks to one torchd, or to several in turns. Any number of threads may share one.

    `addresses`: HOST:PORT, or a list of them (all IPv4 or all IPv6), or dns:///NAME:PORT for all
    that the name stands for. `model`: for calls that name none; may stay empty where a server has
    one model. `timeout`: seconds that a call has unless it says otherwise; the server sees it and
    refuses early what it cannot do in time. `client_name`: those of one name share their turn
    where requests wait. It connects when it is first used.
    """

    def __init__(
        self, addresses: str | Sequence[str] = "127.0.0.1:8001", *, model: str = "",
        timeout: float = 60.0, retry: RetryPolicy | None = RetryPolicy(),
        client_name: str = "", credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        listed = [addresses] if isinstance(addresses, str) else list(addresses)
        target, options = target_of(listed), channel_options(listed, retry)
        self._channel = (
            grpc.insecure_channel(target, options) if credentials is None
            else grpc.secure_channel(target, credentials, options)
        )
        self._model = model
        self._timeout = timeout
        self._metadata = (("torchd-client", client_name),) if client_name else ()
        self._classify = self._channel.unary_unary(
            _wire.CLASSIFY, request_serializer=pb.ClassifyRequest.SerializeToString,
            response_deserializer=pb.ClassifyResponse.FromString,
        )
        self._list_models = self._channel.unary_unary(
            _wire.LIST_MODELS, request_serializer=admin_pb2.ListModelsRequest.SerializeToString,
            response_deserializer=admin_pb2.ListModelsResponse.FromString,
        )

    @overload
    def classify(
        self, inputs: Input, *, model: str | None = ..., version: int = ...,
        version_label: str = ..., top_k: int | None = ..., softmax: bool | None = ...,
        activation: Activation | None = ..., threshold: float | None = ...,
        text_pair: str | None = ..., priority: Priority = ..., timeout: float | None = ...,
    ) -> Classification: ...

    @overload
    def classify(
        self, inputs: list[Input] | tuple[Input, ...], *, model: str | None = ...,
        version: int = ..., version_label: str = ..., top_k: int | None = ...,
        softmax: bool | None = ..., activation: Activation | None = ...,
        threshold: float | None = ..., text_pair: list[str] | tuple[str, ...] | None = ...,
        priority: Priority = ..., timeout: float | None = ...,
    ) -> list[Classification]: ...

    def classify(
        self, inputs: Input | list[Input] | tuple[Input, ...], *, model: str | None = None,
        version: int = 0, version_label: str = "", top_k: int | None = None,
        softmax: bool | None = None, activation: Activation | None = None,
        threshold: float | None = None,
        text_pair: str | list[str] | tuple[str, ...] | None = None,
        priority: Priority = Priority.NORMAL, timeout: float | None = None,
    ) -> Classification | list[Classification]:
        """What an input is, most probable class first; of a list, what each of them is.

        A pathlib.Path is a file with an image, bytes are its contents, a PIL image is itself; a str
        is a text; a numpy array is the model's input as it wants it, a dict of them names several.
        `text_pair` is the second text where two are one input; of a list, a list of them.

        Raises a TorchdError; of a list, what is wrong with one of several is its `error`. More
        than 64 inputs or 32 MiB make more calls, each with the timeout.
        """
        asked = _wire.Asked(
            self._model if model is None else model, version, version_label, top_k, softmax,
            activation, threshold, priority,
        )
        limit = self._timeout if timeout is None else timeout
        if isinstance(inputs, (list, tuple)):
            left = chunks(inputs, second_texts(text_pair, len(inputs)))
            return self._classify_all(asked, left, limit)
        if text_pair is not None and not isinstance(text_pair, str):
            raise TypeError(f"text_pair is a {type(text_pair).__name__} beside one input, "
                            "expected a str")
        try:
            (item,) = next(chunks([inputs], [text_pair]))
            return _wire.classifications(self._call(asked, [item], limit), 1)[0]
        except TorchdError as error:
            raise _wire.with_advice(error, [inputs]) from None

    def _classify_all(
        self, asked: _wire.Asked, left: Iterator[list[pb.ClassifyItem]], timeout: float
    ) -> list[Classification]:
        made: list[Classification] = []
        for items in left:
            try:
                response = self._call(asked, items, timeout)
            except TorchdError as error:
                made += _wire.failed_alone(error, len(items))
            else:
                made += _wire.classifications(response, len(items))
        return made

    def _call(
        self, asked: _wire.Asked, items: list[pb.ClassifyItem], timeout: float
    ) -> pb.ClassifyResponse:
        try:
            return self._classify(asked.request(items), timeout=timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise error_from_call(error) from error

    def models(self, name: str = "", *, timeout: float | None = None) -> list[Model]:
        """Every version that the server knows, ready or not, or those of one model."""
        limit = self._timeout if timeout is None else timeout
        try:
            response = self._list_models(admin_pb2.ListModelsRequest(model=name), timeout=limit)
        except grpc.RpcError as error:
            raise error_from_call(error) from error
        return _wire.models(response)

    def explain_input(self, name: str | None = None, *, timeout: float | None = None) -> Model:
        """What a model takes: of the version that answers when a call names none."""
        name = self._model if name is None else name
        return _wire.one_ready(self.models(name, timeout=timeout), name)

    def watch_health(self, service: str = "") -> HealthWatch:
        """Of the server, or of the model called `service`. With several addresses: of one."""
        return HealthWatch(self._channel, service)

    def wait_ready(self, service: str = "", *, timeout: float | None = None) -> None:
        """Until the server, or the model called `service`, is SERVING. Raises Unavailable."""
        limit = self._timeout if timeout is None else timeout
        last = Health.UNREACHABLE
        with self.watch_health(service) as watch:
            timer = threading.Timer(limit, watch.close)
            timer.start()
            try:
                for last in watch:
                    if last is Health.SERVING:
                        return
            finally:
                timer.cancel()
        raise Unavailable(
            grpc.StatusCode.UNAVAILABLE,
            f"{service or 'the server'} is {last.value} after {limit} s; expected serving",
        )

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
