"""Figures of daemons that are told to stop, or killed, while they are called."""

import contextlib
import pathlib
import random
import statistics
import subprocess
import threading
import time

from lifecycle import (LOADED_FLAGS, SEED, WORK_ROUNDS, Load, folder_for_a_run, modules,
                       seconds_of_a_call)

TERM_ROUNDS = 50


def _terminated(repository, round_: int) -> tuple:
    """Answers, refusals, and what was neither."""
    _, harness, arrivals, _ = modules()
    with folder_for_a_run() as folder, contextlib.ExitStack() as stack:
        daemon = stack.enter_context(harness.serving(folder, repository, *LOADED_FLAGS))
        alone = seconds_of_a_call(daemon, "model")
        with Load(daemon, "model", {1: 1}, alone, 0.8) as load:
            time.sleep(0.3 + random.Random(SEED + round_).random() * 0.5)
            daemon.terminate()
            daemon.exit_code(30)
            time.sleep(0.05)
        log = daemon.log()
    errors = [call[3] for call in load.calls]
    lost = [error for error in errors if error not in (None, "UNAVAILABLE")]
    if "unanswered" in log:  # A warning. Those would look like refusals from here.
        lost.append(log[-300:])
    return errors.count(None), errors.count("UNAVAILABLE"), lost


def sigterm_lost():
    _, _, arrivals, _ = modules()
    answered = refused = 0
    lost = []
    with folder_for_a_run() as folder:
        arrivals.add_version(folder, "model", 1, arrivals.archive(1, WORK_ROUNDS))
        for round_ in range(TERM_ROUNDS):
            found = _terminated(folder, round_)
            answered, refused, lost = answered + found[0], refused + found[1], lost + found[2]
    print(f"#   {TERM_ROUNDS} rounds: {answered} calls answered, {refused} refused; lost: "
          f"{sorted(set(lost))[:5]}")
    yield "sigterm_lost", len(lost), "calls", "==0", not lost and answered > 0 and refused > 0


KILL_ROUNDS = 50
RESTART_SECONDS = 1.0


def _state_parses(path: pathlib.Path) -> bool:
    if not path.exists():
        return False
    lines = path.read_text().splitlines()
    return lines[:1] == ["torchd loaded models 1"] and set(lines[1:]) <= {"model", "a", "b"}


def _killed_at_random(folder, repository, kept, chance) -> set:
    """A daemon under callers, whose operator loads and unloads; it dies at any moment."""
    grpc, harness, arrivals, _ = modules()
    import wire

    flags = ("--model-control", "explicit", "--state-file", kept, *LOADED_FLAGS)
    with harness.serving(folder, repository, *flags, code=-9) as daemon:
        stop = threading.Event()

        def operate():
            with contextlib.suppress(grpc.RpcError):
                while not stop.is_set():
                    for name in ("a", "b"):
                        daemon.admin.LoadModel(wire.admin.LoadModelRequest(model=name), timeout=10)
                    for name in ("a", "b"):
                        daemon.admin.UnloadModel(wire.admin.UnloadModelRequest(model=name),
                                                 timeout=10)

        operator = threading.Thread(target=operate)
        operator.start()
        with Load(daemon, "model", {1: 1}, 0.005, 0.5, threads=2):
            time.sleep(chance.random() * 0.8)
            below = arrivals.descendants(daemon.process.pid)
            daemon.process.kill()
            daemon.exit_code(10)
            stop.set()
        operator.join(20)
        harness.wait_until(lambda: arrivals.have_ended(below), "the end of its helpers", 5)


def _killed_at_the_start(folder, repository, kept, limit: float, chance) -> None:
    """It dies before it serves: its address file, the last step of the start, is not there."""
    _, harness, arrivals, _ = modules()
    address_file = folder / "addresses.json"
    address_file.unlink(missing_ok=True)
    command = [harness.TORCHD, "--model-repository", repository, "--address-file", address_file,
               "--grpc-address", "127.0.0.1:0", "--http-address", "127.0.0.1:0",
               "--model-control", "explicit", "--state-file", kept, *LOADED_FLAGS]
    process = subprocess.Popen(list(map(str, command)), env=harness.clean_environment())
    end = time.monotonic() + chance.random() * limit
    while time.monotonic() < end and not address_file.exists():
        time.sleep(0.001)
    below = arrivals.descendants(process.pid)
    process.kill()
    process.wait(10)
    harness.wait_until(lambda: arrivals.have_ended(below), "the end of its helpers", 5)


def _restarted(folder, repository, kept) -> tuple:
    """Seconds from the start to the first right answer, and how many of them the longest
    load took; several go on side by side."""
    _, harness, arrivals, _ = modules()
    import wire

    flags = ("--model-control", "explicit", "--state-file", kept, *LOADED_FLAGS)
    begin = time.monotonic()
    with harness.serving(folder, repository, *flags) as daemon:
        arrivals.serves(daemon, "model", 1, 1)
        seconds = time.monotonic() - begin
        listed = daemon.admin.ListModels(wire.admin.ListModelsRequest(), timeout=10).models
    return seconds, max(one.load_ms for one in listed) / 1e3


def sigkill_restart():
    _, _, arrivals, _ = modules()
    chance = random.Random(SEED)
    beyond, misses, damaged, at_the_start = [], 0, 0, 0
    with folder_for_a_run() as folder:
        repository, kept = folder / "models", folder / "state"
        for name in ("model", "a", "b"):
            arrivals.add_version(repository, name, 1, arrivals.archive(1))
        clean = "torchd loaded models 1\nmodel\n"
        kept.write_text(clean)
        without = statistics.median(_restarted(folder, repository, kept)[0] for _ in range(3))
        for round_ in range(KILL_ROUNDS):
            kept.write_text(clean)
            if round_ % 2:
                _killed_at_the_start(folder, repository, kept, without, chance)
                at_the_start += not (folder / "addresses.json").exists()
            else:
                _killed_at_random(folder, repository, kept, chance)
            damaged += not _state_parses(kept)
            try:
                seconds, loading = _restarted(folder, repository, kept)
            except AssertionError as error:
                print(f"#   not serving again: {str(error)[-500:]}")
                misses += 1
                continue
            beyond.append(seconds - loading)
            misses += seconds - loading > RESTART_SECONDS
    print(f"#   beyond the loads: median {statistics.median(beyond):.2f} s, most "
          f"{max(beyond):.2f} s; a start without a kill before: {without:.2f} s in all; "
          f"killed before they served: {at_the_start} of {KILL_ROUNDS}; damaged state files: {damaged}")
    yield ("sigkill_restart", misses + damaged, "misses", "==0",
           misses + damaged == 0 and at_the_start > KILL_ROUNDS // 10)


FIGURES = {"sigterm_lost": sigterm_lost, "sigkill_restart": sigkill_restart}
