"""A server that answers as a test says: for what a real one does only when it is in trouble."""

import concurrent.futures
import contextlib
import time

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from wire import inference, inference_grpc

FULL = grpc.StatusCode.RESOURCE_EXHAUSTED


class FakeServer(inference_grpc.InferenceServiceServicer):
    """`refusals`: (code, pushback in ms or None) for the calls to come, each used once."""

    def __init__(self):
        self.refusals = []
        self.arrivals = []  # When calls came, by time.monotonic().
        self.metadata = []
        self.health = health.HealthServicer()
        self.address = ""

    def Classify(self, request, context):
        self.arrivals.append(time.monotonic())
        self.metadata.append(dict(context.invocation_metadata()))
        if self.refusals:
            code, pushback_ms = self.refusals.pop(0)
            if pushback_ms is not None:
                context.set_trailing_metadata((("grpc-retry-pushback-ms", str(pushback_ms)),))
            context.abort(code, "as the test says")
        answer = inference.Class(index=1, label=self.address, probability=1)
        return inference.ClassifyResponse(
            model="fake", version=1,
            results=[inference.ClassifyResult(classes=[answer]) for _ in request.items],
        )

    def serve(self, serving: bool) -> None:
        states = health_pb2.HealthCheckResponse
        self.health.set("", states.SERVING if serving else states.NOT_SERVING)


@contextlib.contextmanager
def serving():
    fake = FakeServer()
    pool = concurrent.futures.ThreadPoolExecutor(16)
    server = grpc.server(pool, options=[("grpc.max_receive_message_length", 64 << 20)])
    inference_grpc.add_InferenceServiceServicer_to_server(fake, server)
    health_pb2_grpc.add_HealthServicer_to_server(fake.health, server)
    fake.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    fake.serve(True)
    server.start()
    try:
        yield fake
    finally:
        server.stop(None).wait(5)
        pool.shutdown()
