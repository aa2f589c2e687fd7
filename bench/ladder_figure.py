"""The ladder: nine models by the classic loop, by each plan, as served, and by ONNX Runtime."""

import contextlib
import json
import math
import os
import pathlib
import statistics
import subprocess
import time

import in_turns
import programs

BLOCK, TURNS = 8, 7
READY_SECONDS_MAX = 120
PLANS = ("saved", "frozen", "onednn", "channels_last", "graph", "direct")
FOLDER = programs.BUILD.parent / "ladder"


@contextlib.contextmanager
def _rungs(model: pathlib.Path, echo: str, server: str, name: str, inputs: list):
    """A function of a rung's name: the times of one block, ms; None: it cannot run."""
    arguments = [str(programs.BUILD / "ladder"), str(model), echo, server, name]
    arguments += [f"{one['name']}:{one['data_type']}:{','.join(map(str, one['shape']))}" for one in inputs]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as process:
        def block(rung: str, count: int = BLOCK):
            process.stdin.write(f"{rung} {count}\n")
            process.stdin.flush()
            words = process.stdout.readline().split()
            if not words or words[0] == "failed":
                print(f"#   {name} {rung}: {' '.join(words)}", flush=True)
                return None
            return [float(word) / 1e3 for word in words]
        yield block
        process.stdin.close()
        process.wait(60)


def _onnx(name: str):
    """As `block`, by ONNX Runtime; None where that is not installed."""
    try:
        import ladder_models
        import onnxruntime
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = os.cpu_count()
    session = onnxruntime.InferenceSession(str(FOLDER / f"{name}.onnx"), options,
                                           providers=["CPUExecutionProvider"])
    feed = {one.name: tensor.numpy()
            for one, tensor in zip(session.get_inputs(), ladder_models.row(name))}

    def block(count: int = BLOCK):
        times = []
        for _ in range(count):
            begin = time.perf_counter()
            session.run(None, feed)
            times.append((time.perf_counter() - begin) * 1e3)
        return times
    return block


def _chosen(server: str, name: str) -> str:
    """The rung of the plan that serves, once it is ready."""
    until = time.monotonic() + READY_SECONDS_MAX
    while True:
        listed = subprocess.run([str(programs.BUILD / "torchctl"), "--address", server, "models",
                                 name, "--json"], capture_output=True, text=True, timeout=30)
        models = json.loads(listed.stdout) if listed.returncode == 0 else []
        if models and models[0]["state"] == "READY":
            plan = models[0]["plan"]
            return f"{plan['plan']}:{plan['threads']}" if plan["threads"] else plan["plan"]
        if time.monotonic() > until:
            raise RuntimeError(f"{name} is not ready: {listed.stdout}{listed.stderr}")
        time.sleep(0.2)


def measured(server: str, echo: str, name: str) -> dict:
    """Medians in ms by rung: classic, each plan, served, echo, onnx; and which plan was chosen."""
    import ladder_models
    model = ladder_models.repository(FOLDER, name) / name / "1" / "model.pt"
    chosen = _chosen(server, name)
    with _rungs(model, echo, server, name, ladder_models.inputs(name)) as block:
        blocks = {rung: (lambda rung=rung: block(rung))
                  for rung in dict.fromkeys(("classic", *PLANS, chosen, "served", "echo"))}
        if (onnx := _onnx(name)) is not None:
            blocks["onnx"] = onnx
        return {"chosen": chosen, **in_turns.medians(blocks, TURNS)}


def _geometric(ratios: list) -> float:
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def ladder(names=None):
    import ladder_models
    names = names or ladder_models.NAMES
    programs.build("ladder", "echo_server", "torchd", "torchctl")
    for name in names:
        ladder_models.make(FOLDER, name)
    to_classic, to_best, to_onnx, taxes = [], [], [], []
    for name in names:
        repository = ladder_models.repository(FOLDER, name)
        with programs.torchd(repository) as server, programs.echo_server() as echo:
            found = measured(server, echo, name)
        mine = found[found["chosen"]]
        best = min(found[plan] for plan in PLANS if plan in found)
        to_classic.append(mine / found["classic"])
        to_best.append(mine / best)
        if name in ladder_models.PICTURES:  # 602 KB; of a text there is little to carry.
            taxes.append((found["served"] - mine - found["echo"]) * 1e3)
        if "onnx" in found:
            to_onnx.append(mine / found["onnx"])
        print(f"#   {name}: {found['chosen']}; ms " +
              ", ".join(f"{rung} {value:.2f}" for rung, value in found.items()
                        if rung != "chosen"), flush=True)
    yield "ladder_to_classic", _geometric(to_classic), "x", "<=0.60", _geometric(to_classic) <= 0.60
    yield "ladder_to_best_plan", max(to_best), "x", "<=1.02", max(to_best) <= 1.02
    if taxes:
        median, worst = statistics.median(taxes), max(taxes)
        yield "ladder_serving", median, "us", "<=100", median <= 100
        yield "ladder_serving_worst", worst, "us", "<=100", worst <= 100
    if not to_onnx:
        print("#   onnxruntime is not installed: nothing is known beside it", flush=True)
    mean, worst = (_geometric(to_onnx), max(to_onnx)) if to_onnx else (math.nan, math.nan)
    yield "ladder_to_onnx", mean, "x", "<=0.95", mean <= 0.95
    yield "ladder_to_onnx_worst", worst, "x", "<=1.15", worst <= 1.15


FIGURES = {"ladder": ladder}
