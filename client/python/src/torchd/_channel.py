"""How a channel is opened: addresses, retries, balancing."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
from collections.abc import Sequence
from typing import Any

# 64 items of 1000 classes with long labels pass gRPC's usual 4 MiB.
_ANSWER_BYTES_MAX = 64 * 1024 * 1024
# A call is tried again only while gRPC still holds what was sent.
_RETRY_BYTES_MAX = 64 * 1024 * 1024 + 4096


@dataclasses.dataclass(frozen=True)
class RetryPolicy:
    """Refusals that may pass, UNAVAILABLE and RESOURCE_EXHAUSTED, are tried again until the deadline.

    The pause is the server's word where it gives one (`grpc-retry-pushback-ms`), else a random one
    up to `first_pause_s`, doubled each time up to `pause_max_s`.
    """

    attempts_max: int = 4  # The first one included; gRPC makes 5 at most.
    first_pause_s: float = 0.05
    pause_max_s: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.attempts_max <= 5:
            raise ValueError(f"attempts_max is {self.attempts_max}; expected 1 to 5")
        if not 0 < self.first_pause_s <= self.pause_max_s:
            raise ValueError(
                f"first_pause_s is {self.first_pause_s} and pause_max_s {self.pause_max_s}; "
                "expected 0 < first_pause_s <= pause_max_s"
            )


def _split_port(address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    bare_ipv6 = ":" in host and not (host.startswith("[") and host.endswith("]"))
    if not colon or not host or bare_ipv6 or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise ValueError(f"address {address!r}; expected HOST:PORT with a port of 1 to 65535")
    return host, int(port)


def _ip_version(host: str) -> int | None:
    try:
        return ipaddress.ip_address(host.strip("[]")).version
    except ValueError:
        return None


def target_of(addresses: Sequence[str]) -> str:
    """gRPC's name for them: a list has to be of IP addresses of one kind, as nobody resolves it."""
    if not addresses:
        raise ValueError("no address; expected HOST:PORT")
    if len(addresses) == 1:
        name = addresses[0].removeprefix("dns:///")
        _split_port(name)
        return addresses[0]
    versions = {_ip_version(_split_port(address)[0]) for address in addresses}
    if len(versions) != 1 or None in versions:
        raise ValueError(
            f"addresses {list(addresses)}; several have to be all IPv4 or all IPv6, or one name "
            "that stands for all of them, as dns:///NAME:PORT"
        )
    return f"ipv{versions.pop()}:{','.join(addresses)}"


def service_config(retry: RetryPolicy | None, watch_backends: bool) -> dict[str, Any]:
    """`watch_backends`: a server that says NOT_SERVING gets no calls while another serves."""
    config: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
    if watch_backends:
        config["healthCheckConfig"] = {"serviceName": ""}
    if retry is None or retry.attempts_max == 1:
        return config
    config["methodConfig"] = [
        {
            # What changes nothing on the server.
            "name": [
                {"service": "torchd.v1.InferenceService", "method": "Classify"},
                {"service": "torchd.v1.AdminService", "method": "ListModels"},
                {"service": "torchd.v1.AdminService", "method": "GetServerStatus"},
            ],
            "retryPolicy": {
                "maxAttempts": retry.attempts_max,
                "initialBackoff": f"{retry.first_pause_s:.9f}s",
                "maxBackoff": f"{retry.pause_max_s:.9f}s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
            },
        }
    ]
    # Where most calls fail, retries would only add to the load.
    config["retryThrottling"] = {"maxTokens": 100, "tokenRatio": 0.5}
    return config


def channel_options(
    addresses: Sequence[str], retry: RetryPolicy | None
) -> list[tuple[str, str | int]]:
    several = len(addresses) > 1 or addresses[0].startswith("dns:")
    return [
        ("grpc.service_config", json.dumps(service_config(retry, several))),
        ("grpc.enable_retries", 1 if retry is not None else 0),
        ("grpc.per_rpc_retry_buffer_size", _RETRY_BYTES_MAX),
        ("grpc.max_receive_message_length", _ANSWER_BYTES_MAX),
        # A torchd is a neighbour.
        ("grpc.enable_http_proxy", 0),
        # Or two clients of a process would share a connection, and a pause after a lost one.
        ("grpc.use_local_subchannel_pool", 1),
    ]
