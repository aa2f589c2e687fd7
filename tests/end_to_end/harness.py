"""Starts and stops the real programs. Every wait has a limit; every port is free at the time."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import time
import urllib.error
import urllib.request

import grpc

from wire import ROOT, admin, admin_grpc, benchmark, benchmark_grpc, inference_grpc, request

TORCHD = ROOT / "build/release/torchd"
TORCHCTL = ROOT / "build/release/torchctl"
START_LIMIT_S = 60
CALL_LIMIT_S = 60


def clean_environment(**variables) -> dict:
    """Ours, without what would configure the programs under test."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TORCHD_", "TORCHCTL_"))}
    return {**kept, **variables}


def output_of(*command, timeout, **options) -> str:
    """Of a program that must succeed, on its standard output."""
    done = subprocess.run([str(one) for one in command], capture_output=True, text=True,
                          timeout=timeout, check=False, **options)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def run_torchd(*arguments, environment=None) -> subprocess.CompletedProcess:
    """For command lines that end by themselves."""
    return subprocess.run(
        [TORCHD, *map(str, arguments)],
        capture_output=True, text=True, timeout=START_LIMIT_S, check=False,
        env=clean_environment(**(environment or {})),
    )


def run_torchctl(*arguments, environment=None, stdin=None) -> subprocess.CompletedProcess:
    return subprocess.run(
        [TORCHCTL, *(one if isinstance(one, bytes) else str(one) for one in arguments)],
        capture_output=True, timeout=CALL_LIMIT_S, check=False, input=stdin,
        env=clean_environment(**(environment or {})),
    )


class Daemon:
    """A running torchd. `grpc` and `http` are its addresses, `inference`, `admin` and `benchmarks` its
    stubs."""

    def __init__(self, process, addresses, log_path: pathlib.Path):
        self.process = process
        self.grpc = addresses["grpc"]
        self.http = addresses["http"]
        self.asked_to_end = False  # A second signal would end it at once.
        self._log_path = log_path
        self.channel = grpc.insecure_channel(self.grpc)
        self.inference = inference_grpc.InferenceServiceStub(self.channel)
        self.admin = admin_grpc.AdminServiceStub(self.channel)
        self.benchmarks = benchmark_grpc.BenchmarkServiceStub(self.channel)

    def log(self) -> str:
        return self._log_path.read_text(errors="replace")

    def classify(self, model, *items, timeout=CALL_LIMIT_S, **options):
        return self.inference.Classify(request(model, *items, **options), timeout=timeout)

    def refusal(self, model, *items, **options) -> grpc.RpcError:
        """The error of a call that must fail."""
        try:
            answer = self.classify(model, *items, **options)
        except grpc.RpcError as error:
            return error
        raise AssertionError(f"expected an error, got {answer}")

    def benchmark(self, model, timeout=CALL_LIMIT_S, **options):
        """A benchmark under way: an iterator over its updates, which can be cancelled."""
        return self.benchmarks.Benchmark(benchmark.BenchmarkRequest(model=model, **options),
                                         timeout=timeout)

    def measured(self, model, **options):
        """The result of a benchmark."""
        (*_, last) = self.benchmark(model, **options)
        return last.result

    def status(self):
        return self.admin.GetServerStatus(admin.GetServerStatusRequest(), timeout=CALL_LIMIT_S)

    def get(self, path: str):
        """HTTP code and text."""
        try:
            with urllib.request.urlopen(f"http://{self.http}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def terminate(self) -> None:
        self.asked_to_end = True
        self.process.send_signal(signal.SIGTERM)

    def exit_code(self, limit_s=60) -> int:
        return self.process.wait(limit_s)


def wait_until(condition, what: str, limit_s=20.0):
    """The first true value of `condition`."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"{what}: not within {limit_s} s")


def _addresses(process, path: pathlib.Path, log_path: pathlib.Path):
    def read():
        if process.poll() is not None:
            raise AssertionError(f"torchd ended with {process.returncode}: {log_path.read_text()}")
        # The file must appear complete; half of it would be a bug of the daemon's.
        return json.loads(path.read_text()) if path.exists() else None

    return wait_until(read, "the address file", START_LIMIT_S)


@contextlib.contextmanager
def serving(folder: pathlib.Path, repository: pathlib.Path, *flags, environment=None, code=0):
    """A daemon on free ports; its files go to `folder`. It must end with `code`, by itself or
    asked. It searches no plans unless `flags` say so: that takes seconds."""
    environment = {"TORCHD_PLAN_SECONDS_MAX": "0", **(environment or {})}
    address_file, log_path = folder / "addresses.json", folder / "torchd.log"
    address_file.unlink(missing_ok=True)  # One that was killed leaves it.
    command = [TORCHD, "--model-repository", repository, "--address-file", address_file,
               "--grpc-address", "127.0.0.1:0", "--http-address", "127.0.0.1:0", *flags]
    with open(log_path, "wb") as log:
        process = subprocess.Popen(
            list(map(str, command)), stdout=log, stderr=subprocess.STDOUT,
            env=clean_environment(**environment),
        )
    try:
        daemon = Daemon(process, _addresses(process, address_file, log_path), log_path)
        yield daemon
        daemon.channel.close()
        if process.poll() is None and not daemon.asked_to_end:
            daemon.terminate()
        ended = daemon.exit_code()
        assert ended == code, f"torchd ended with {ended}: {daemon.log()[-4000:]}"
    finally:
        process.kill()  # Nothing happens to a process that has ended.
        process.wait()
