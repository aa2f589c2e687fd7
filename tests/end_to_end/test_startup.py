"""Starting: one line says what is wrong, exit code 2; where a setting's value comes from."""

import json
import re
import socket

import pytest
import yaml

import harness
import wire

LOCAL = ("--grpc-address", "127.0.0.1:0", "--http-address", "127.0.0.1:0")


def refused(*arguments, environment=None) -> str:
    """The one line on stderr."""
    done = harness.run_torchd(*arguments, environment=environment)
    assert done.returncode == 2, done
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


def settings(*arguments, environment=None) -> dict:
    done = harness.run_torchd("--print-config", *arguments, environment=environment)
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)


@pytest.mark.parametrize("flag", ["--grpc-address", "--http-address"])
def test_occupied_port(linear_repository, flag):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        line = refused("--model-repository", linear_repository, *LOCAL, flag, address)
    assert address in line


@pytest.mark.parametrize("which", ["grpc", "http"])
def test_port_of_another_torchd(daemon, linear_repository, which):
    """gRPC would share the port silently (SO_REUSEPORT), and each would get half of the calls."""
    address = getattr(daemon, which)
    line = refused("--model-repository", linear_repository, *LOCAL, f"--{which}-address", address)
    assert address in line


def test_missing_repository(tmp_path):
    nowhere = tmp_path / "nowhere"
    assert str(nowhere) in refused("--model-repository", nowhere, *LOCAL)


def test_repository_that_is_a_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("x")
    assert str(path) in refused("--model-repository", path, *LOCAL)


def test_no_repository_at_all():
    line = refused(*LOCAL)
    assert "model_repository" in line or "--model-repository" in line


def test_address_file_that_cannot_be_written(tmp_path, linear_repository):
    path = tmp_path / "missing/addresses.json"
    arguments = ("--model-repository", linear_repository, *LOCAL, "--address-file", path)
    done = harness.run_torchd(*arguments)
    assert done.returncode == 2 and str(path) in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("arguments", [
    ("--no-such-flag", ["--no-such-flag"]),
    ("--rows-waiting-max=0", ["rows_waiting_max", "0", "1..1000000"]),
    ("--rows-waiting-max=many", ["rows_waiting_max", "many"]),
    ("--message-bytes-max=1023", ["message_bytes_max", "1023", "1024"]),
    ("--log-level=loud", ["log_level", "loud", "info"]),
    ("--grpc-address=localhost", ["grpc_address", "localhost", "HOST:PORT"]),
    ("--http-address=127.0.0.1:70000", ["http_address", "70000", "65535"]),
    ("stray", ["stray"]),
], ids=lambda arguments: arguments[0])
def test_flag_that_is_wrong(arguments):
    flag, parts = arguments
    line = refused(flag, "--check-config")
    for part in parts:
        assert part in line


def test_flag_without_its_value():
    assert "--log-level" in refused("--log-level")


def test_unknown_variable():
    environment = {"TORCHD_ROWS_WAITING": "5"}
    assert "TORCHD_ROWS_WAITING" in refused("--check-config", environment=environment)


@pytest.mark.parametrize(("text", "parts"), [
    ("rows_waiting: 5\n", ["rows_waiting", "1"]),
    ("log_level: info\nrows_waiting_max: 0\n", ["rows_waiting_max", "0", "1..1000000", "2"]),
    ("a: [1, 2\n", []),
    ("\x00\x01\x02", []),
    ("- just\n- a list\n", []),
    ("log_level: {deep: 1}\n", ["log_level"]),
], ids=["unknown-key", "out-of-range", "no-yaml", "bytes", "list", "mapping"])
def test_config_file_that_is_wrong(tmp_path, text, parts):
    path = tmp_path / "torchd.yaml"
    path.write_text(text)
    line = refused("--config", path, "--check-config")
    assert str(path) in line
    for part in parts:
        assert part in line


def test_config_file_that_cannot_be_read(tmp_path):
    nowhere = tmp_path / "nowhere.yaml"
    assert str(nowhere) in refused("--config", nowhere, "--check-config")
    assert str(tmp_path) in refused("--config", tmp_path, "--check-config")


def test_flag_over_variable_over_file(tmp_path):
    path = tmp_path / "torchd.yaml"
    path.write_text("warmup_runs: 11\nload_threads: 12\nlog_level: warning\n")
    environment = {"TORCHD_CONFIG": str(path), "TORCHD_LOAD_THREADS": "22",
                   "TORCHD_LOG_LEVEL": "error"}
    found = settings("--log-level=debug", environment=environment)
    assert (found["warmup_runs"], found["load_threads"], found["log_level"]) == (11, 22, "debug")
    assert found["rows_waiting_max"] == 256, "the default"
    assert settings("--config", path)["load_threads"] == 12


def test_print_config_is_a_config(tmp_path):
    first = harness.run_torchd("--print-config", "--warmup-runs=7", "--grpc-address=[::1]:9")
    path = tmp_path / "torchd.yaml"
    path.write_text(first.stdout)
    again = harness.run_torchd("--print-config", "--config", path)
    assert again.returncode == 0 and again.stdout == first.stdout
    assert yaml.safe_load(again.stdout)["warmup_runs"] == 7


def test_every_setting_has_its_flag_and_stands_in_the_help_and_the_manual():
    text = harness.run_torchd("--help").stdout
    manual = (wire.ROOT / "docs/configuration.md").read_text()
    for key, value in settings().items():
        flag = f"--{key.replace('_', '-')}"
        assert flag in text and key in manual
        if value != "":
            assert settings(f"{flag}={value}")[key] == value


def test_example_config_is_taken():
    done = harness.run_torchd("--config", wire.ROOT / "config/torchd.yaml", "--check-config")
    assert done.returncode == 0, done.stderr


def test_check_config_is_quick_and_opens_nothing(daemon, linear_repository):
    done = harness.run_torchd("--check-config", "--model-repository", linear_repository,
                              "--grpc-address", daemon.grpc)
    assert done.returncode == 0, done.stderr


def test_version_and_help():
    version = harness.run_torchd("--version")
    assert version.returncode == 0 and re.search(r"\d+\.\d+\.\d+", version.stdout)
    assert harness.run_torchd("--help").returncode == 0
    assert harness.run_torchctl("--version").returncode == 0


def test_settings_come_from_the_environment(tmp_path, linear_repository):
    environment = {"TORCHD_LOG_FORMAT": "json", "TORCHD_ROWS_WAITING_MAX": "17"}
    with harness.serving(tmp_path, linear_repository, environment=environment) as own:
        assert own.status().executors[0].rows_waiting_max == 17
        lines = [json.loads(line) for line in own.log().splitlines() if line.startswith("{")]
    assert len(lines) >= 2 and {"time", "severity", "message"} <= set(lines[0])


def test_empty_repository_serves_nothing_but_lives(tmp_path):
    repository = tmp_path / "repository"
    repository.mkdir()
    with harness.serving(tmp_path, repository) as own:
        assert own.get("/livez")[0] == 200
        assert own.status().versions_total == 0
        assert "NOT_FOUND" in str(own.refusal("anything", wire.row([1])).code())
