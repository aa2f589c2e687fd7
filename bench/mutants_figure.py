"""The figure of archives that are nearly right: none may cost the daemon its life."""

import contextlib
import os
import time

from lifecycle import folder_for_a_run, modules

MUTANTS = 10_000
MUTANTS_PER_START = 250


def _end_of_each(daemon, names: list, seconds_max: float) -> list:
    """Those that did not end as READY or UNAVAILABLE."""
    _, _, arrivals, _ = modules()
    import wire

    end = time.monotonic() + seconds_max
    while True:
        listed = daemon.admin.ListModels(wire.admin.ListModelsRequest(), timeout=30).models
        ended = {one.name for one in listed
                 if one.state == arrivals.READY
                 or (one.state == arrivals.UNAVAILABLE and one.reason)}
        left = [name for name in names if name not in ended]
        if not left or time.monotonic() > end:
            return left
        time.sleep(0.2)


def _try_mutants(seeds: range) -> tuple:
    """One daemon with all of them. Deaths, those without an end, and how many serve."""
    grpc, harness, arrivals, mutants = modules()
    import wire

    with folder_for_a_run() as folder:
        repository = folder / "models"
        original = arrivals.archive(3)
        arrivals.add_version(repository, "good", 1, arrivals.archive(1))
        for seed in seeds:
            arrivals.add_version(repository, f"m{seed}", 1, mutants.mutant(original, seed))
        names = [f"m{seed}" for seed in seeds]
        try:
            with harness.serving(folder, repository, "--warmup-runs", 1, "--trial-seconds-max", 5,
                                 "--trial-memory-mb-max", 1024, "--log-level", "error") as daemon:
                left = _end_of_each(daemon, names, 60)
                listed = daemon.admin.ListModels(wire.admin.ListModelsRequest(), timeout=30).models
                ready = [one.name for one in listed if one.state == arrivals.READY]
                for name in ready:  # Running one is where some would crash.
                    with contextlib.suppress(grpc.RpcError):
                        daemon.classify(name, wire.row([1, 2, 3, 4]), timeout=10)
                arrivals.serves(daemon, "good", 1, 1)
        except (AssertionError, grpc.RpcError) as error:
            print(f"#   seeds {seeds.start}..{seeds.stop - 1}: {str(error)[-1500:]}", flush=True)
            return 1, 0, 0
    if left:
        print(f"#   without an end: {left[:10]}", flush=True)
    return 0, len(left), len(ready) - 1


def mutants_survived():
    count = int(os.environ.get("BENCH_MUTANTS", MUTANTS))  # Fewer only to try the benchmark.
    deaths = left = ready = 0
    begin = time.monotonic()
    for first in range(0, count, MUTANTS_PER_START):
        found = _try_mutants(range(first, min(count, first + MUTANTS_PER_START)))
        deaths, left, ready = deaths + found[0], left + found[1], ready + found[2]
    survived = count - left if deaths == 0 else 0
    print(f"#   {count} mutants in {time.monotonic() - begin:.0f} s: {deaths} deaths of the "
          f"daemon, {left} without an end, {ready} serve")
    yield "mutants_survived", survived, "mutants", f"=={MUTANTS}", survived == MUTANTS
    yield "mutants_deaths", deaths, "daemons", "==0", deaths == 0


FIGURES = {"mutants_survived": mutants_survived}
