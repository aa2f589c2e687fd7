"""The figures that issues name, one line each: name value unit goal PASS|FAIL.

Usage: python bench/figures.py [NAME]

Each figure comes from a benchmark that runs all its sides interleaved in one process run; medians
and ratios only, since machines are shared and noisy. Exit code 1 when a figure misses its goal.
"""

import contextlib
import json
import pathlib
import subprocess
import sys
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
    """The daemon on ports of the kernel's choice; yields its gRPC address."""
    with tempfile.TemporaryDirectory() as folder:
        address_file = pathlib.Path(folder) / "addresses.json"
        command = [BUILD / "torchd", "--model-repository", repository, "--grpc-address",
                   "127.0.0.1:0", "--http-address", "127.0.0.1:0", "--address-file", address_file,
                   "--log-level", "warning"]
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


def slice_tax():
    """What serving adds to a model beyond gRPC's own price for the payload (602 KB tensor)."""
    build("slice_bench", "echo_server")
    with echo_server() as echo, torchd(DEMO) as server:
        model = DEMO / "efficientnet-lite0" / "1" / "model.pt"
        result = subprocess.run(
            [str(BUILD / "slice_bench"), str(model), echo, server, "efficientnet-lite0", "15",
             "20"], check=True, capture_output=True, text=True, timeout=540)
    values = dict(line.split() for line in result.stdout.splitlines())
    for name in ("in_process_us", "echo_us", "torchd_us"):
        print(f"#   {name} {values[name]}")
    yield "slice_tax", float(values["tax_us"]), "us", "<=150", float(values["tax_us"]) <= 150


FIGURES = {"slice_tax": slice_tax}


def main():
    wanted = sys.argv[1:] or list(FIGURES)
    unknown = [name for name in wanted if name not in FIGURES]
    if unknown:
        sys.exit(f"figures: no figure named {unknown[0]}; there are {', '.join(FIGURES)}")
    missed = False
    for name in wanted:
        for figure, value, unit, goal, passed in FIGURES[name]():
            print(f"{figure} {value:.1f} {unit} {goal} {'PASS' if passed else 'FAIL'}", flush=True)
            missed = missed or not passed
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
