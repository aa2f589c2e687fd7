"""The programs that figures run: where they are, how they are built, started and ended."""

import contextlib
import json
import pathlib
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "release"
DEMO = ROOT / "build" / "demo-models"
START_SECONDS_MAX = 60


@contextlib.contextmanager
def stopped(process):
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=30)


@contextlib.contextmanager
def torchd(repository):
    """The daemon on ports of the kernel's choice, which knows no earlier search; yields its gRPC
    address."""
    with tempfile.TemporaryDirectory() as folder:
        address_file = pathlib.Path(folder) / "addresses.json"
        command = [BUILD / "torchd", "--model-repository", repository, "--grpc-address",
                   "127.0.0.1:0", "--http-address", "127.0.0.1:0", "--address-file", address_file,
                   "--log-level", "warning", "--plan-cache", pathlib.Path(folder) / "plans"]
        with stopped(subprocess.Popen([str(word) for word in command])) as process:
            until = time.monotonic() + START_SECONDS_MAX
            while not address_file.exists():
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError("torchd did not start")
                time.sleep(0.02)
            yield json.loads(address_file.read_text())["grpc"]


@contextlib.contextmanager
def echo_server():
    """A bare gRPC service; yields its address."""
    with stopped(subprocess.Popen([str(BUILD / "echo_server")], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)) as process:
        yield f"127.0.0.1:{int(process.stdout.readline())}"


def build(*targets):
    subprocess.run(["ninja", "-C", str(BUILD), *targets], check=True, stdout=subprocess.DEVNULL)
