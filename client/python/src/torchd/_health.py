"""grpc.health.v1 by messages that protobuf has anyway, so that no other package is needed.

On the wire its request, a name in field 1, is a StringValue, and its answer, a number in field 1, an
Int32Value.
"""

from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from torchd._types import Health

PAUSE_MAX_S = 2.0

_STATES = {1: Health.SERVING, 2: Health.NOT_SERVING, 3: Health.UNKNOWN_SERVICE}


def request(service: str) -> StringValue:
    return StringValue(value=service)


def serialized(message: StringValue) -> bytes:
    data: bytes = message.SerializeToString()
    return data


def state(answer: bytes) -> Health:
    return _STATES.get(Int32Value.FromString(answer).value, Health.UNKNOWN_SERVICE)


def pause_after(failures: int) -> float:
    """Before the server is asked again, seconds."""
    return float(min(PAUSE_MAX_S, 0.05 * 2 ** min(failures, 10)))
