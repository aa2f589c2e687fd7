"""The REST interface on the real daemon: docs/rest.md's examples as they stand there, every kind of body
beside gRPC's answer, refusals, and clients that mean ill."""

import base64
import concurrent.futures
import contextlib
import json
import re
import socket
import subprocess
import time

import grpc
import numpy as np
import pytest
import requests

import harness
import pictures
import small_models
import wire

MANUAL = (wire.ROOT / "docs/rest.md").read_text()
EXAMPLES = re.findall(r"```sh\n(.*?)```\n\n```json\n(.*?)```", MANUAL, re.DOTALL)


def like(expected, got) -> None:
    """What the manual shows is there; times are anybody's, and figures are those of a CPU like ours."""
    if isinstance(expected, dict):
        assert set(expected) <= set(got)
        for key in set(expected) - {"times_us"}:
            like(expected[key], got[key])
    elif isinstance(expected, list):
        assert len(expected) == len(got)
        for one, other in zip(expected, got):
            like(one, other)
    elif isinstance(expected, float):
        assert got == pytest.approx(expected, abs=0.02)
    else:
        assert got == expected


@pytest.mark.parametrize(("command", "answer"), EXAMPLES)
def test_examples_of_the_manual(daemon, command, answer):
    shown = subprocess.run(["bash", "-e", "-c", command.replace("127.0.0.1:8000", daemon.http)],
                           capture_output=True, timeout=60, check=True, cwd=wire.ROOT)
    like(json.loads(answer), json.loads(shown.stdout))


def test_the_manual_has_examples():
    assert len(EXAMPLES) == 5


def post(daemon, model, **how) -> requests.Response:
    return requests.post(f"http://{daemon.http}/v1/models/{model}:classify", timeout=60, **how)


def classes(reply) -> list:
    assert reply.status_code == 200, reply.text
    return [[(one["index"], one["label"], pytest.approx(one["probability"], rel=1e-5))
             for one in result["classes"]] for result in reply.json()["results"]]


def same_as_grpc(reply, answer) -> None:
    assert reply.json()["model"] == answer.model and reply.json()["version"] == answer.version
    assert [[(one.index, one.label, one.probability) for one in result.classes]
            for result in answer.results] == classes(reply)


def test_every_kind_of_body_is_answered_as_on_grpc(daemon, data):
    photo = (data / "cat.jpg").read_bytes()
    answer = daemon.classify(pictures.MODEL, wire.image(photo), top_k=3)
    for how in (
        {"data": photo, "headers": {"Content-Type": "image/jpeg"}, "params": {"top_k": 3}},
        {"data": iter([photo[:1000], photo[1000:]]), "params": {"top_k": 3},
         "headers": {"Content-Type": "application/octet-stream"}},  # Chunked.
        {"json": {"image": base64.b64encode(photo).decode(), "top_k": 3}},
        {"files": {"image": ("cat.jpg", photo)}, "data": {"top_k": "3"}},
    ):
        same_as_grpc(post(daemon, pictures.MODEL, **how), answer)


def test_texts_and_tensors_are_answered_as_on_grpc(daemon):
    words = "a film — good, très bon 好"
    answer = daemon.classify(small_models.TEXT_MODEL, wire.text(words))
    same_as_grpc(post(daemon, small_models.TEXT_MODEL, json={"text": words}), answer)
    same_as_grpc(post(daemon, small_models.TEXT_MODEL, data=words.encode(),
                      headers={"Content-Type": "text/plain"}), answer)
    row = np.asarray([0.1, -2.5, 3e-3, 7], np.float32)
    answer = daemon.classify("linear", wire.row(row), wire.row(row + 1), softmax=False)
    listed = {"data": row.tolist()}
    packed = {"base64": base64.b64encode((row + 1).tobytes()).decode(), "shape": [1, 4]}
    same_as_grpc(post(daemon, "linear", params={"softmax": "false"}, json={
        "items": [{"tensors": [listed]}, {"tensors": [packed]}]}), answer)


def test_pairs_and_scores_are_answered_as_on_grpc(daemon):
    first, second = "Is it a cat?", "A film — très bon 好"
    pair = wire.inference.ClassifyItem(text_pair={"first": first, "second": second})
    answer = daemon.classify(small_models.TEXT_MODEL, pair)
    for how in (
        {"json": {"text": first, "text_pair": second}},
        {"json": {"items": [{"text_pair": second, "text": first}]}},
        {"files": [("text", (None, first)), ("text_pair", (None, second))]},
        {"data": first.encode(), "params": {"text_pair": second},
         "headers": {"Content-Type": "text/plain; charset=utf-8"}},
    ):
        same_as_grpc(post(daemon, small_models.TEXT_MODEL, **how), answer)
    alone = daemon.classify(small_models.TEXT_MODEL, wire.text(first))
    assert alone.results[0].classes != answer.results[0].classes
    answer = daemon.classify("linear", wire.row([1, 2, 3, 4]), threshold=0.25,
                             activation=wire.inference.ACTIVATION_SIGMOID)
    options = {"activation": "sigmoid", "threshold": 0.25}
    same_as_grpc(post(daemon, "linear", json={**ROW, **options}), answer)
    same_as_grpc(post(daemon, "linear", json=ROW, params=options), answer)


def test_what_a_body_must_not_be(daemon):
    for headers, part in (({"Content-Type": "text/plain; charset=utf-16"}, "expected utf-8"),
                          ({"Content-Type": "text/plain", "Content-Encoding": "gzip"}, "'gzip'")):
        reply = post(daemon, small_models.TEXT_MODEL, data=b"x", headers=headers)
        assert reply.status_code == 415 and part in reply.json()["error"]["message"]
    url = f"http://{daemon.http}/v1/models/linear:frobnicate"
    reply = requests.post(url, json=ROW, timeout=10)
    assert reply.status_code == 404 and "expected classify" in reply.json()["error"]["message"]


ROW = {"tensors": [{"data": [1, 2, 3, 4]}]}


@pytest.mark.parametrize(("model", "body", "item", "options"), [
    ("nobody", ROW, wire.row([1, 2, 3, 4]), {}),
    ("broken", ROW, wire.row([1, 2, 3, 4]), {}),
    ("linear", {"tensors": [{"data": [1, 2, 3]}]}, wire.row([1, 2, 3]), {}),
    ("linear", {"text": "x"}, wire.text("x"), {}),
    ("linear", ROW, wire.row([1, 2, 3, 4]), {"top_k": 4}),
    ("linear", ROW, wire.row([1, 2, 3, 4]), {"version_label": "none"}),
    (pictures.MODEL, {"text": "x", "text_pair": "y"},
     wire.inference.ClassifyItem(text_pair={"first": "x", "second": "y"}), {}),
    ("raises", {"tensors": [{"data": [-1, 0, 0]}]}, wire.row([-1, 0, 0]), {}),
    (pictures.MODEL, {"image": base64.b64encode(b"no photo").decode()}, wire.image(b"no photo"), {}),
])
def test_errors_have_the_code_and_text_of_grpc(daemon, model, body, item, options):
    refused = daemon.refusal(model, item, **options)
    reply = post(daemon, model, json={**body, **options})
    error = reply.json()["error"]
    assert (error["code"], error["message"]) == (refused.code().name, refused.details())
    assert reply.status_code == {"NOT_FOUND": 404, "UNAVAILABLE": 503, "INVALID_ARGUMENT": 400,
                                 "INTERNAL": 500}[error["code"]]


def test_models_are_those_of_the_listing(daemon):
    listed = requests.get(f"http://{daemon.http}/v1/models", timeout=10).json()["models"]
    known = daemon.admin.ListModels(wire.admin.ListModelsRequest(), timeout=10).models
    assert [(model["name"], one["version"], "VERSION_STATE_" + one["state"])
            for model in listed for one in model["versions"]] == [
        (one.name, one.version, wire.admin.VersionState.Name(one.state)) for one in known]
    linear = requests.get(f"http://{daemon.http}/v1/models/linear", timeout=10).json()
    assert linear in listed
    photos = requests.get(f"http://{daemon.http}/v1/models/{pictures.MODEL}", timeout=10).json()
    explained = json.loads(harness.run_torchctl(
        "--address", daemon.grpc, "explain-input", pictures.MODEL, "--json").stdout)
    for key in ("image", "text", "activation", "threshold"):
        assert photos["versions"][0][key] == explained[key]
    unknown = requests.get(f"http://{daemon.http}/v1/models/nobody", timeout=10).json()
    assert unknown["error"]["message"] == "no model 'nobody' in the repository"
    assert linear["versions"][0]["inputs"] == [{"name": "x", "data_type": "float32", "shape": [4]}]


def test_the_contract_is_the_file(daemon):
    served = requests.get(f"http://{daemon.http}/openapi.json", timeout=10)
    assert served.content == (wire.ROOT / "server/http/openapi.json").read_bytes()


def test_a_timeout_is_504(served):
    with served.held(served.fresh_gate()):
        reply = post(served.daemon, "one", json={**ROW, "timeout_ms": 200})
    assert reply.status_code == 504
    assert reply.json()["error"]["code"] == "DEADLINE_EXCEEDED"


def test_a_hang_up_takes_the_row_out_of_the_queue(served):
    body = json.dumps(ROW).encode()
    head = (f"POST /v1/models/one:classify HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
            "Content-Type: application/json\r\n\r\n").encode()
    host, port = served.daemon.http.split(":")
    with served.held():
        with contextlib.closing(socket.create_connection((host, int(port)))) as client:
            client.sendall(head + body)
            harness.wait_until(lambda: served.waiting() == 1, "the row in the queue")
        harness.wait_until(lambda: served.waiting() == 0, "an empty queue")
    assert served.runs() == []


def test_a_large_body_is_refused_and_the_limit_is_grpcs(tmp_path, linear_repository):
    with harness.serving(tmp_path, linear_repository, "--message-bytes-max", 1_000_000) as own:
        for size in (1_000_001, 3_000_000):
            how = {"data": bytes(size), "headers": {"Content-Type": "image/png"}}
            if size > 2_000_000:  # Refused before it is sent, if the client asks.
                how["headers"]["Expect"] = "100-continue"
            with contextlib.suppress(requests.ConnectionError):  # Reset while sending, at worst.
                reply = post(own, "linear", **how)
                assert reply.status_code == 413
                assert reply.json()["error"]["code"] == "RESOURCE_EXHAUSTED"
        assert post(own, "linear", json=ROW).status_code == 200


def test_slow_and_idle_clients_starve_nobody(daemon):
    """600 connections that say nothing, half a header, or half a body: pages and calls get through as
    if they were not there."""
    host, port = daemon.http.split(":")
    address = (host, int(port))
    starts = [b"", b"GET /livez HT", b"POST /v1/models/linear:classify HTTP/1.1\r\nHost: x\r\n"
              b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"]
    with contextlib.ExitStack() as stack:
        clients = []
        for number in range(600):
            client = stack.enter_context(socket.create_connection(address, timeout=10))
            client.sendall(starts[number % 3])
            clients.append(client)
        slowest = 0.0
        for _ in range(50):
            begun = time.monotonic()
            assert daemon.get("/readyz")[0] == 200
            slowest = max(slowest, time.monotonic() - begun)
            assert daemon.get("/metrics")[0] == 200
            assert post(daemon, "linear", json=ROW).status_code == 200
        assert slowest < 1.0  # A thread that waited for one of them would take 10 s.


def test_many_callers_at_once_each_get_their_own_answer(daemon):
    def call(number: int):
        with requests.Session() as session:
            for turn in range(20):
                row = [float(number), float(turn), 1.0, -1.0]
                reply = session.post(f"http://{daemon.http}/v1/models/linear:classify", timeout=60,
                                     json={"tensors": [{"data": row}], "softmax": False})
                expected = daemon.classify("linear", wire.row(row), softmax=False)
                same_as_grpc(reply, expected)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(call, number) for number in range(8)]:
            done.result()


def test_draining_answers_503_and_then_what_was_in_flight(tmp_path, slow_repository):
    with harness.serving(tmp_path, slow_repository) as own:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            slow = pool.submit(post, own, "slow", json={"tensors": [{"data": [200_000.0]}]})
            harness.wait_until(lambda: own.status().executors[0].rows_running == 1, "the run")
            own.terminate()
            assert slow.result().status_code == 200


def test_refusals_carry_the_time_to_come_again(served):
    with concurrent.futures.ThreadPoolExecutor(6) as pool, served.held():
        calls = [pool.submit(post, served.daemon, "bounded", json=ROW) for _ in range(6)]
        harness.wait_until(lambda: sum(call.done() for call in calls) == 2, "two refusals")
    refused = [call.result() for call in calls if call.result().status_code != 200]
    assert [reply.status_code for reply in refused] == [429, 429]
    for reply in refused:
        error = reply.json()["error"]
        assert error["code"] == grpc.StatusCode.RESOURCE_EXHAUSTED.name
        assert error["retry_after_ms"] >= 1
        assert int(reply.headers["Retry-After"]) * 1000 >= error["retry_after_ms"]
