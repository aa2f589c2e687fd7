"""Runs load_generator and returns what its --json says.

Example: three times the peak for a minute, then recovery, of a torchd at `address`:

    found = load.run(address, ["fixed"], phases=[(300, 60), (80, 5)], deadline_ms=200)
    found["phases"][0]["goodput_per_second"]
"""

import json
import pathlib
import subprocess
import tempfile

PROGRAM = pathlib.Path(__file__).resolve().parent.parent / "build" / "release" / "load_generator"
EXTRA_SECONDS_MAX = 60  # To connect, and for the last answers.


def run(target=None, models=(), *, phases=None, concurrency=None, seconds=None, **flags) -> dict:
    """Either `phases`, pairs of a rate and seconds, or `concurrency` and `seconds`. Other flags go
    by their names with underscores, such as deadline_ms=200. RuntimeError with what the generator
    says when there was no run."""
    if phases is not None:
        flags["phases"] = ",".join(f"{rate:g}x{length:g}" for rate, length in phases)
        length = sum(length for _, length in phases)
    else:
        flags.update(concurrency=concurrency, seconds=seconds)
        length = seconds
    if target is not None:
        flags["target"] = target
    words = [f"--model={model}" for model in models]
    words += [f"--{name.replace('_', '-')}={value}" for name, value in flags.items()]
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "load.json"
        ended = subprocess.run([str(PROGRAM), *words, f"--json={file}"], capture_output=True,
                               text=True, timeout=length + EXTRA_SECONDS_MAX, check=False)
        if ended.returncode != 0:
            raise RuntimeError(ended.stderr.strip())
        return json.loads(file.read_text())
