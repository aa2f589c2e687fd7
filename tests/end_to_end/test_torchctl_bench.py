"""`torchctl bench` as a user types it."""

import csv
import io
import json
import os
import pty
import subprocess

import pytest

import harness


@pytest.fixture
def bench(daemon):
    def run(*arguments):
        done = harness.run_torchctl("--address", daemon.grpc, "bench", *arguments)
        done.out, done.err = done.stdout.decode(), done.stderr.decode()
        return done

    return run


def test_table_has_percentiles_and_a_histogram(bench):
    done = bench("linear", "--repeats", 50, "--batch", 2)
    assert done.returncode == 0 and done.err == "", "no progress where nobody sees it"
    for part in ("linear version 2, plan frozen", "2 rows of x float32[4], 1 at a time",
                 "50 runs after 10 of warm-up", "median", "% sure", "p99", "rows/s", "first runs",
                 "RUNS", "#" * 40):
        assert part in done.out, done.out


def test_json_has_all_and_csv_one_line(bench):
    shown = json.loads(bench("linear", "--version", 1, "--repeats", 30, "--json").out)
    assert (shown["model"], shown["version"], shown["warm_up"]) == ("linear", 1, 10)
    assert shown["times"]["runs"] == 30 == sum(one["runs"] for one in shown["bins"])
    assert shown["times"]["min_us"] <= shown["times"]["p50_us"] <= shown["times"]["max_us"]
    assert len(shown["curve_us"]) == 40 and shown["inputs"][0]["shape"] == [4]
    (line,) = csv.DictReader(io.StringIO(bench("linear", "--warmup", 0, "--repeats", 5, "--csv").out))
    assert (line["model"], line["runs"], line["warm_up"]) == ("linear", "5", "0")
    assert float(line["p50_us"]) > 0 and line["inputs"] == "x float32[4]"


def test_duration_and_length_of_a_text(bench):
    shown = json.loads(bench("sentiment", "--length", 32, "--duration", 0.3, "--json").out)
    assert {tuple(one["shape"]) for one in shown["inputs"]} == {(32,)}
    usual = json.loads(bench("sentiment", "--repeats", 1, "--json").out)
    assert len({tuple(one["shape"]) for one in usual["inputs"]}) == 1


@pytest.mark.parametrize(("arguments", "code", "part"), [
    (("nobody",), 1, "NOT_FOUND"),
    (("linear", "--repeats", "0"), 1, "repeats: got 0, expected 1 to 1000000"),
    (("linear", "--batch", "5000"), 1, "expected 1 to 1024"),
    (("linear", "--length", "5"), 1, "leaves no size open"),
    (("linear", "--shape", "5"), 1, "the model takes [4]"),
    (("linear", "--plan", "quick"), 1, "plan: got 'quick'"),
    (("broken",), 4, "UNAVAILABLE"),
    (("linear", "--repeats", "many"), 2, "--repeats is 'many'"),
    (("linear", "--json", "--csv"), 2, "one of them"),
    (("linear", "other"), 2, "unexpected argument"),
], ids=lambda value: " ".join(value) if isinstance(value, tuple) else None)
def test_exit_codes(bench, arguments, code, part):
    done = bench(*arguments)
    assert done.returncode == code and part in done.err, done
    assert done.out == "" and len(done.err.splitlines()) == 1


def test_progress_on_a_terminal(daemon):
    ours, theirs = pty.openpty()
    command = [harness.TORCHCTL, "--address", daemon.grpc, "bench", "linear", "--duration", "0.5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs) as process:
        os.close(theirs)
        out = process.stdout.read().decode()
        assert process.wait(harness.CALL_LIMIT_S) == 0
    shown = b""
    try:
        while chunk := os.read(ours, 4096):
            shown += chunk
    except OSError:  # Its end, where nobody holds the other side any more.
        pass
    os.close(ours)
    assert b"measuring" in shown and b" %, " in shown
    assert shown.endswith(b"\r\x1b[K"), "and leaves nothing behind"
    assert "rows/s" in out
