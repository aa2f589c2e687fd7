"""The client for asyncio. Names, arguments and answers are those of `_client.py`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from types import TracebackType
from typing import overload

import grpc
import grpc.aio

from torchd import _health, _wire
from torchd._channel import RetryPolicy, channel_options, target_of
from torchd._errors import TorchdError, Unavailable, error_from_call
from torchd._inputs import Input, chunks, second_texts
from torchd._types import Activation, Classification, Health, Model, Priority
from torchd.v1 import admin_pb2
from torchd.v1 import inference_pb2 as pb


class AsyncClient:
    """As Client, within one event loop. What reads files or encodes images does so in a thread."""

    def __init__(
        self, addresses: str | Sequence[str] = "127.0.0.1:8001", *, model: str = "",
        timeout: float = 60.0, retry: RetryPolicy | None = RetryPolicy(),
        client_name: str = "", credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        listed = [addresses] if isinstance(addresses, str) else list(addresses)
        target, options = target_of(listed), channel_options(listed, retry)
        self._channel = (
            grpc.aio.insecure_channel(target, options) if credentials is None
            else grpc.aio.secure_channel(target, credentials, options)
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
        self._watch = self._channel.unary_stream(
            _wire.WATCH, request_serializer=_health.serialized,
            response_deserializer=_health.state,
        )

    @overload
    async def classify(
        self, inputs: Input, *, model: str | None = ..., version: int = ...,
        version_label: str = ..., top_k: int | None = ..., softmax: bool | None = ...,
        activation: Activation | None = ..., threshold: float | None = ...,
        text_pair: str | None = ..., priority: Priority = ..., timeout: float | None = ...,
    ) -> Classification: ...

    @overload
    async def classify(
        self, inputs: list[Input] | tuple[Input, ...], *, model: str | None = ...,
        version: int = ..., version_label: str = ..., top_k: int | None = ...,
        softmax: bool | None = ..., activation: Activation | None = ...,
        threshold: float | None = ..., text_pair: list[str] | tuple[str, ...] | None = ...,
        priority: Priority = ..., timeout: float | None = ...,
    ) -> list[Classification]: ...

    async def classify(
        self, inputs: Input | list[Input] | tuple[Input, ...], *, model: str | None = None,
        version: int = 0, version_label: str = "", top_k: int | None = None,
        softmax: bool | None = None, activation: Activation | None = None,
        threshold: float | None = None,
        text_pair: str | list[str] | tuple[str, ...] | None = None,
        priority: Priority = Priority.NORMAL, timeout: float | None = None,
    ) -> Classification | list[Classification]:
        """As Client.classify(). Who stops waiting for it cancels the call on the server, too."""
        asked = _wire.Asked(
            self._model if model is None else model, version, version_label, top_k, softmax,
            activation, threshold, priority,
        )
        limit = self._timeout if timeout is None else timeout
        if isinstance(inputs, (list, tuple)):
            left = chunks(inputs, second_texts(text_pair, len(inputs)))
            return await self._classify_all(asked, left, limit)
        if text_pair is not None and not isinstance(text_pair, str):
            raise TypeError(f"text_pair is a {type(text_pair).__name__} beside one input, "
                            "expected a str")
        try:
            (item,) = await asyncio.to_thread(next, chunks([inputs], [text_pair]))
            return _wire.classifications(await self._call(asked, [item], limit), 1)[0]
        except TorchdError as error:
            raise _wire.with_advice(error, [inputs]) from None

    async def _classify_all(
        self, asked: _wire.Asked, left: Iterator[list[pb.ClassifyItem]], timeout: float
    ) -> list[Classification]:
        made: list[Classification] = []
        while items := await asyncio.to_thread(next, left, None):
            try:
                response = await self._call(asked, items, timeout)
            except TorchdError as error:
                made += _wire.failed_alone(error, len(items))
            else:
                made += _wire.classifications(response, len(items))
        return made

    async def _call(
        self, asked: _wire.Asked, items: list[pb.ClassifyItem], timeout: float
    ) -> pb.ClassifyResponse:
        try:
            return await self._classify(
                asked.request(items), timeout=timeout, metadata=self._metadata
            )
        except grpc.RpcError as error:
            raise error_from_call(error) from error

    async def models(self, name: str = "", *, timeout: float | None = None) -> list[Model]:
        limit = self._timeout if timeout is None else timeout
        try:
            response = await self._list_models(
                admin_pb2.ListModelsRequest(model=name), timeout=limit
            )
        except grpc.RpcError as error:
            raise error_from_call(error) from error
        return _wire.models(response)

    async def explain_input(
        self, name: str | None = None, *, timeout: float | None = None
    ) -> Model:
        name = self._model if name is None else name
        return _wire.one_ready(await self.models(name, timeout=timeout), name)

    async def watch_health(self, service: str = "") -> AsyncIterator[Health]:
        """Its states from now on, each as it comes, for as long as somebody iterates."""
        last: Health | None = None
        failures = 0
        while True:
            stream = self._watch(_health.request(service))
            try:
                async for state in stream:
                    failures = 0
                    if state is not last:
                        last = state
                        yield state
            except grpc.RpcError:
                pass  # Whatever it was, there is nobody to ask now.
            finally:
                stream.cancel()
            if last is not Health.UNREACHABLE:
                last = Health.UNREACHABLE
                yield last
            failures += 1
            await asyncio.sleep(_health.pause_after(failures))

    async def wait_ready(self, service: str = "", *, timeout: float | None = None) -> None:
        limit = self._timeout if timeout is None else timeout
        last = Health.UNREACHABLE

        async def serving() -> None:
            nonlocal last
            async for last in self.watch_health(service):
                if last is Health.SERVING:
                    return

        try:
            await asyncio.wait_for(serving(), limit)
        except asyncio.TimeoutError:
            raise Unavailable(
                grpc.StatusCode.UNAVAILABLE,
                f"{service or 'the server'} is {last.value} after {limit} s; expected serving",
            ) from None

    async def close(self) -> None:
        await self._channel.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
