"""What an operator sees: health, reflection, metrics, probes, stage times."""

import re
import time

import grpc
import pytest
import requests
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

import harness
import pictures
import wire

State = health_pb2.HealthCheckResponse
GOOD_ROW = wire.row([1, 2, 3, 4])


def health(daemon):
    return health_pb2_grpc.HealthStub(daemon.channel)


def asked(service):
    return health_pb2.HealthCheckRequest(service=service)


@pytest.mark.parametrize(("service", "state"), [
    ("", State.SERVING), ("linear", State.SERVING), (pictures.MODEL, State.SERVING),
    ("broken", State.NOT_SERVING),
])
def test_health_check(daemon, service, state):
    assert health(daemon).Check(asked(service), timeout=10).status == state


def test_health_of_what_nobody_knows(daemon):
    with pytest.raises(grpc.RpcError) as caught:
        health(daemon).Check(asked("nobody"), timeout=10)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    watch = health(daemon).Watch(asked("nobody"), timeout=10)
    assert next(watch).status == State.SERVICE_UNKNOWN
    watch.cancel()


@pytest.mark.parametrize("service", ["", "linear"])
def test_health_watch_tells_of_the_end(tmp_path, linear_repository, service):
    with harness.serving(tmp_path, linear_repository, "--drain-delay-ms", 300) as own:
        watch = health(own).Watch(asked(service), timeout=20)
        assert next(watch).status == State.SERVING
        own.terminate()
        assert next(watch).status == State.NOT_SERVING


def test_reflection(daemon):
    database = ProtoReflectionDescriptorDatabase(daemon.channel)
    expected = {"torchd.v1.InferenceService", "torchd.v1.AdminService",
                "torchd.v1.BenchmarkService", "grpc.health.v1.Health"}
    assert expected <= set(database.get_services())
    service = DescriptorPool(database).FindServiceByName("torchd.v1.InferenceService")
    assert [method.name for method in service.methods] == ["Classify", "ClassifyStream"]


def metrics(daemon) -> dict:
    """Each series with its value."""
    code, page = daemon.get("/metrics")
    assert code == 200
    found = {}
    for line in page.splitlines():
        if line and not line.startswith("#"):
            series, value = line.rsplit(" ", 1)
            found[series] = float(value)
    return found


def series(found: dict, name: str, **labels) -> float:
    """The one series of that name with those labels."""
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    values = [value for key, value in found.items()
              if re.split(r"[{ ]", key)[0] == name and all(one in key for one in wanted)]
    assert len(values) == 1, f"{name} {labels}: {values}"
    return values[0]


def test_metrics_count_requests(daemon):
    which = {"model": "linear", "version": "2"}
    daemon.classify("linear", GOOD_ROW)
    before = metrics(daemon)
    for _ in range(3):
        daemon.classify("linear", GOOD_ROW, GOOD_ROW)
    daemon.refusal("linear", wire.row([1]))
    after = metrics(daemon)

    def grown(name, **labels):
        return series(after, name, **which, **labels) - series(before, name, **which, **labels)

    assert grown("torchd_items_total", code="OK") == 6
    assert series(after, "torchd_items_total", **which, code="INVALID_ARGUMENT") >= 1
    for stage in ("queue", "execute", "postprocess"):
        assert grown("torchd_stage_duration_seconds_count", stage=stage) == 6
    assert grown("torchd_request_duration_seconds_count") in (6, 7)  # With or without the refused.
    assert grown("torchd_request_duration_seconds_sum") < 5, "seconds, not microseconds"
    assert grown("torchd_request_duration_seconds_bucket", le="+Inf") in (6, 7)


def test_metrics_buckets_are_log_spaced_seconds(daemon):
    daemon.classify("linear", GOOD_ROW)
    bounds = [re.search(r'le="([^"]+)"', key).group(1) for key in metrics(daemon)
              if key.startswith("torchd_request_duration_seconds_bucket")
              and 'model="linear"' in key and 'version="2"' in key]
    finite = sorted(float(bound) for bound in bounds if bound != "+Inf")
    steps = [high / low for low, high in zip(finite, finite[1:])]
    assert finite[0] <= 1e-4 and finite[-1] >= 10 and min(steps) > 1.2 and max(steps) < 3


def test_every_metric_is_documented_and_every_documented_one_is_there(daemon):
    manual = (wire.ROOT / "docs/metrics.md").read_text()
    documented = set(re.findall(r"^\| `((?:torchd|process)_\w+)` \|", manual, re.MULTILINE))
    families = set(re.findall(r"^# TYPE (\S+)", daemon.get("/metrics")[1], re.MULTILINE))
    assert families == documented and len(families) > 8


def test_unknown_names_make_no_series(daemon):
    """A stranger's words never become labels: a million of them would be a million series."""
    daemon.refusal("made-up-name", GOOD_ROW)
    assert "made-up-name" not in daemon.get("/metrics")[1]
    assert series(metrics(daemon), "torchd_requests_refused_total", reason="unknown_model") >= 1


def test_probes(daemon, tmp_path, linear_repository):
    assert daemon.get("/livez")[0] == 200
    assert daemon.get("/readyz/linear")[0] == 200
    assert daemon.get("/readyz/broken")[0] == 503
    assert daemon.get("/readyz/nobody")[0] == 404
    assert daemon.get("/nothing-here")[0] == 404
    with harness.serving(tmp_path, linear_repository) as own:
        assert own.get("/readyz")[0] == 200


def test_not_ready_while_draining(tmp_path, linear_repository):
    """A balancer must see 503 while connections still work."""
    with harness.serving(tmp_path, linear_repository, "--drain-delay-ms", 1500) as own:
        own.terminate()
        code = harness.wait_until(lambda: own.get("/readyz")[0] == 503, "503", 1.2)
        assert code and own.classify("linear", GOOD_ROW).results[0].classes


def test_http_refuses_other_methods(daemon):
    assert requests.post(f"http://{daemon.http}/metrics", data="x", timeout=10).status_code == 405


def test_status_page_shows_the_models(daemon):
    code, page = daemon.get("/")
    assert code == 200 and "linear" in page and "UNAVAILABLE" in page


def test_stage_times_fit_in_the_total(daemon, data):
    photo = wire.image((data / "cat.jpg").read_bytes())
    for item, model in ((photo, pictures.MODEL), (GOOD_ROW, "linear")):
        start = time.monotonic()
        times = daemon.classify(model, item).results[0].times
        elapsed_us = (time.monotonic() - start) * 1e6
        stages = times.preprocess_us + times.queue_us + times.execute_us + times.postprocess_us
        assert 0 < stages <= times.total_us <= elapsed_us
        assert (times.preprocess_us > 0) == (model == pictures.MODEL)
    assert times.total_us < 1_000_000, "a linear layer takes no second"


def test_status_counts_and_names(daemon):
    before = daemon.status()
    daemon.classify("linear", GOOD_ROW, GOOD_ROW)
    daemon.refusal("linear", wire.row([1]))
    after = daemon.status()
    assert after.items_ok == before.items_ok + 2
    assert after.items_failed == before.items_failed + 1
    assert (after.versions_ready, after.versions_total, after.draining) == (6, 7, False)
    assert after.libtorch_version.startswith("2.11") and after.executors[0].name == "cpu"
    assert harness.run_torchd("--version").stdout.strip().endswith(after.version)
