"""The figures that issues name, one line each: name value unit goal PASS|FAIL.

Usage: python bench/figures.py [NAME]

Each figure comes from a benchmark that runs all its sides interleaved in one process run; medians
and ratios only, since machines are shared and noisy. Exit code 1 when a figure misses its goal.
"""

import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

import ends_figure
import honesty_figure
import image_figure
import image_mutants_figure
import ladder_figure
import lifecycle
import mutants_figure
import scheduling_figure
import text_figure
from programs import BUILD, DEMO, build, echo_server, torchd

def small_classifier(repository):
    """A picture to ten classes in about a millisecond."""
    import torch

    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 7, stride=4), torch.nn.ReLU(), torch.nn.MaxPool2d(4),
        torch.nn.Conv2d(16, 32, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(), torch.nn.Linear(32, 10)).eval()
    folder = repository / "small" / "1"
    folder.mkdir(parents=True)
    torch.jit.trace(model, torch.zeros(1, 3, 224, 224)).save(str(folder / "model.pt"))


def slice_bench(repository, model, starts, turns, pause_ms):
    """Medians over several starts of the programs: where memory happens to lie in a process moves a
    run's time by some percent, which is more than what is measured here."""
    found = {}
    for _ in range(starts):
        with echo_server() as echo, torchd(repository) as server:
            result = subprocess.run(
                [str(BUILD / "slice_bench"), str(repository / model / "1" / "model.pt"), echo,
                 server, model, str(turns), str(pause_ms)],
                check=True, capture_output=True, text=True, timeout=540)
        for line in result.stdout.splitlines():
            name, value = line.split()
            found.setdefault(name, []).append(float(value))
    medians = {name: statistics.median(values) for name, values in found.items()}
    print(f"#   {model}, {pause_ms} ms between calls: " + ", ".join(f"{name} {value:.0f}" for name, value in medians.items()))
    print("#     tax_us of each start: " +
          ", ".join(f"{value:.0f}" for value in found["tax_us"]))
    return medians


def slice_tax():
    """What serving a 602 KB tensor adds to a model's run and gRPC's own price for the payload."""
    build("slice_bench", "echo_server")
    with tempfile.TemporaryDirectory() as folder:
        repository = pathlib.Path(folder)
        small_classifier(repository)
        medians = slice_bench(repository, "small", 5, 300, 0)
        slice_bench(repository, "small", 3, 60, 25)  # For the record: after idleness.
    yield "slice_tax", medians["tax_us"], "us", "<=150", medians["tax_us"] <= 150
    # For the record: the demo's run of many milliseconds, whose own spread hides the difference.
    slice_bench(DEMO, "efficientnet-lite0", 3, 60, 0)


FIGURES = {"slice_tax": slice_tax, **lifecycle.FIGURES, **ends_figure.FIGURES, **mutants_figure.FIGURES,
           **scheduling_figure.FIGURES, **ladder_figure.FIGURES, **honesty_figure.FIGURES, **image_figure.FIGURES,
           **image_mutants_figure.FIGURES, **text_figure.FIGURES}


def main():
    wanted = sys.argv[1:] or list(FIGURES)
    unknown = [name for name in wanted if name not in FIGURES]
    if unknown:
        sys.exit(f"figures: no figure named {unknown[0]}; there are {', '.join(FIGURES)}")
    missed = False
    for name in wanted:
        for figure, value, unit, goal, passed in FIGURES[name]():
            print(f"{figure} {value:.2f} {unit} {goal} {'PASS' if passed else 'FAIL'}", flush=True)
            missed = missed or not passed
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
