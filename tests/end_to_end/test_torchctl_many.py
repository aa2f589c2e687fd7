"""torchctl on many files, for scripts and for fingers: folders, patterns, CSV, completion."""

import csv
import io
import json
import os
import pty
import shutil
import subprocess

import pytest

import harness
import pictures

LABELS = {"cat.jpg": "Egyptian cat", "coffee.jpg": "espresso", "rocket.jpg": "missile"}


@pytest.fixture
def photos(tmp_path, data):
    """50 photos in two folders, by names whose order is known."""
    for i in range(50):
        name = list(LABELS)[i % 3]
        folder = tmp_path / "photos" / ("even" if i % 2 == 0 else "odd")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(data / name, folder / f"{i:02}-{name}")
    (tmp_path / "photos/notes.txt").write_text("not a photo")
    return tmp_path / "photos"


@pytest.fixture
def classify(daemon):
    def run(*arguments, **options):
        done = harness.run_torchctl("classify", "--address", daemon.grpc, "--model", pictures.MODEL,
                                    *arguments, **options)
        done.out, done.err = done.stdout.decode(), done.stderr.decode()
        return done

    return run


def rows(text: str) -> list[dict]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize("jobs", [1, 8])
def test_a_folder_as_csv(classify, photos, jobs):
    done = classify("--csv", "--top-k", 1, "--jobs", jobs, photos)
    assert done.returncode == 0 and done.err == "", done.err
    found = rows(done.out)
    assert [row["file"] for row in found] == sorted(map(str, photos.rglob("*.jpg")))
    for row in found:
        assert row["label"] == LABELS[row["file"].rsplit("-", 1)[1]], row
        assert (row["rank"], row["version"], row["error"]) == ("1", "1", "")
        assert 0 < float(row["probability"]) < 1


def test_a_pattern_that_no_shell_expanded(classify, photos):
    done = classify("--json", "--top-k", 1, f"{photos}/*/*-rocket.jpg", photos / "even/00-cat.jpg")
    shown = json.loads(done.out)
    assert {one["classes"][0]["label"] for one in shown[:-1]} == {"missile"}
    assert len(shown) == 17 and shown[-1]["classes"][0]["label"] == "Egyptian cat"


def test_one_bad_file_of_many_costs_no_other(classify, photos):
    bad = photos / "even/10-bad, really.jpg"
    bad.write_bytes(b"no image")
    done = classify("--csv", "--top-k", 1, photos)
    assert done.returncode == 1 and len(done.err.splitlines()) == 1 and str(bad) in done.err
    (failed,) = [row for row in rows(done.out) if row["error"]]
    assert failed["file"] == str(bad) and failed["error"] == "INVALID_ARGUMENT" and failed["message"]
    assert len(rows(done.out)) == 51


@pytest.mark.parametrize(("name", "part"), [("nothing*.jpg", "no file matches"), ("gone.jpg", "No such"),
                                            ("empty", "no .jpg")])
def test_what_leads_to_no_file(classify, photos, name, part):
    (photos / "empty").mkdir()
    done = classify(photos / name)
    assert done.returncode == 2 and part in done.err and done.out == ""


def test_a_terminal_sees_how_far_it_is(daemon, photos):
    """And a pipe does not: test_a_folder_as_csv has nothing on the standard error."""
    reading, writing = pty.openpty()
    process = subprocess.Popen(
        [str(harness.TORCHCTL), "classify", "--address", daemon.grpc, "--model", pictures.MODEL,
         "--csv", "--jobs", "1", str(photos)], stdout=subprocess.PIPE, stderr=writing,
        env=harness.clean_environment())
    os.close(writing)
    out, _ = process.communicate(timeout=60)
    shown = b""
    try:
        while chunk := os.read(reading, 4096):
            shown += chunk
    except OSError:  # The other end is closed.
        pass
    os.close(reading)
    assert process.returncode == 0 and len(rows(out.decode())) == 250
    assert b" of 50" in shown and b"/s" in shown and b"[" in shown
    assert shown.endswith(b"\r\x1b[K"), shown  # Gone at the end.


def test_names_of_models(daemon):
    done = harness.run_torchctl("models", "--address", daemon.grpc, "--names")
    assert done.returncode == 0
    assert done.stdout.decode().split() == sorted(
        ["broken", pictures.MODEL, "linear", "raises", "sentiment", "two"])


def completion(shell: str) -> str:
    done = harness.run_torchctl("completion", shell)
    assert done.returncode == 0
    return done.stdout.decode()


def completed(daemon, *words, cwd="/") -> list[str]:
    """What bash offers after `torchctl WORDS`, of which the last is being typed."""
    script = completion("bash") + """
COMP_WORDS=(torchctl "$@"); COMP_CWORD=$#; compopt() { :; }
_torchctl; printf '%s\\n' "${COMPREPLY[@]}"
"""
    path = f"{harness.TORCHCTL.parent}:/usr/bin:/bin"
    done = subprocess.run(
        ["bash", "--norc", "-c", script, "bash", *words], capture_output=True, text=True, timeout=30,
        check=False, cwd=cwd,
        env=harness.clean_environment(PATH=path, TORCHCTL_ADDRESS=daemon.grpc))
    assert done.returncode == 0 and done.stderr == "", done
    return sorted(done.stdout.split())


def test_bash_completes(daemon, data):
    assert completed(daemon, "cl") == ["classify"]
    assert completed(daemon, "") == sorted(
        ["classify", "bench", "models", "explain-input", "plan", "status", "load", "unload",
         "reload", "completion"])
    assert completed(daemon, "--address", "a:1", "mod") == ["models"]
    assert completed(daemon, "--a") == ["--address"]
    assert completed(daemon, "classify", "--top") == ["--top-k"]
    assert completed(daemon, "models", "--top") == []
    assert completed(daemon, "classify", "--priority", "") == ["high", "low", "normal"]
    assert completed(daemon, "classify", "--model", "l") == ["linear"]
    assert completed(daemon, "explain-input", "sen") == ["sentiment"]
    assert completed(daemon, "completion", "z") == ["zsh"]
    assert completed(daemon, "classify", "ca", cwd=data) == ["cat.jpg"]
    assert completed(daemon, "bench", "--plan", "satisf") == []
    assert completed(daemon, "classify", "--top-k", "") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_one_that_its_shell_reads(shell, tmp_path):
    script = tmp_path / "script"
    script.write_text(completion(shell))
    done = subprocess.run([shell, "-n", script], capture_output=True, text=True, timeout=30,
                          check=False)
    assert done.returncode == 0 and done.stderr == "", done


def test_fish_completes(daemon):
    script = completion("fish") + "\ncomplete -C 'torchctl cl'; complete -C 'torchctl plan sent'\n"
    path = f"{harness.TORCHCTL.parent}:/usr/bin:/bin"
    done = subprocess.run(
        ["fish", "--no-config", "-c", script], capture_output=True, text=True, timeout=30, check=False,
        env=harness.clean_environment(PATH=path, TORCHCTL_ADDRESS=daemon.grpc, HOME="/nonexistent"))
    offered = [line.split("\t")[0] for line in done.stdout.splitlines()]
    assert offered == ["classify", "sentiment"], done
