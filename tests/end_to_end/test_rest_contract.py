"""server/http/openapi.json against the daemon, by schemathesis: what the contract allows is answered as
it says, what it forbids is refused, and nothing makes the server fail."""

import json
import subprocess
import sys

import pytest
import requests

import pictures
import small_models
import wire

CONTRACT = json.loads((wire.ROOT / "server/http/openapi.json").read_text())
# Not positive_data_acceptance: bytes that are no photo and a text for a model of photos are of the
# form that the contract describes, and refused all the same.
CHECKS = ("not_a_server_error,status_code_conformance,content_type_conformance,"
          "response_headers_conformance,response_schema_conformance,negative_data_rejection,"
          "unsupported_method,allow_header_conformance")


def run(daemon, folder, contract, *flags) -> subprocess.CompletedProcess:
    path = folder / "openapi.json"
    path.write_text(json.dumps(contract))
    return subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "run", path, "--url", f"http://{daemon.http}",
         "--checks", CHECKS, "--seed", "8", "--continue-on-failure", "--no-color",
         "--generation-database", "none", "--request-timeout", "20", *flags],
        capture_output=True, text=True, timeout=280, check=False, cwd=folder)


def forms(contract) -> list:
    """What a body may look like that has options in it."""
    schemas = contract["components"]["schemas"]
    found = [schemas["OneItem"], schemas["Items"]]
    for path in contract["paths"].values():
        if "post" in path:
            content = path["post"]["requestBody"]["content"]
            found.append(content["multipart/form-data"]["schema"])
    return found


def with_models(*names) -> dict:
    """Of random names none would be a model's."""
    contract = json.loads(json.dumps(CONTRACT))
    parameters = contract["components"]["parameters"]
    parameters["model"]["schema"] = {"type": "string", "enum": list(names)}
    parameters["version"]["schema"] = {"type": "integer", "enum": [1, 2]}
    for timeout in (parameters["timeout_ms"]["schema"],
                    *(form["properties"]["timeout_ms"] for form in forms(contract))):
        timeout["minimum"] = 60_000  # One that passes is answered by 504, which counts as a failure.
    return contract


@pytest.mark.parametrize("model", ["linear", small_models.TEXT_MODEL, pictures.MODEL])
def test_the_daemon_keeps_the_contract(daemon, tmp_path, model):
    tried = run(daemon, tmp_path, with_models(model), "--max-examples", "30")
    assert tried.returncode == 0, tried.stdout[-6000:] + tried.stderr[-2000:]


def test_a_breach_is_found(daemon, tmp_path):
    """The check itself: a contract that promises what the daemon does not do fails."""
    contract = with_models("linear")
    contract["paths"] = {"/v1/models": contract["paths"]["/v1/models"]}
    contract["components"]["schemas"]["Model"]["required"] = ["name", "versions", "colour"]
    tried = run(daemon, tmp_path, contract, "--max-examples", "5")
    assert tried.returncode == 1 and "colour" in tried.stdout, tried.stdout[-3000:]


def test_every_path_of_the_contract_is_one_of_the_daemon(daemon):
    for path, methods in CONTRACT["paths"].items():
        url = path.replace("{model}", "linear").replace("{version}", "1")
        for method in methods:
            reply = requests.request(method, f"http://{daemon.http}{url}", timeout=20,
                                     json={"tensors": [{"data": [1, 2, 3, 4]}]})
            assert reply.status_code == 200, (method, path, reply.text)
