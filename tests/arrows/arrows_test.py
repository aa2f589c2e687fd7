#!/usr/bin/env python3
"""Which folder may include what, and how long a file may be.

The tables are the map of the code: an arrow that is not in them does not exist. The linker finds a
call that points up (preset `layering`); this test finds what needs no symbol: headers.

Needs nothing but Python: `python3 tests/arrows/arrows_test.py`. It first plants violations in a
folder of its own and fails when it does not find them.
"""

import pathlib
import re
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Folder under server/: the folders it may include, itself aside. Each line names all that lies
# below, so that a missing arrow is a decision (preprocessing knows no queue) and not an oversight.
BASE = set()
MEASURING = {"base"}
CONFIG = {"base"}
METRICS = {"base"}
INFERENCE = {"config", "metrics", "base"}
BATCHING = {"inference"} | INFERENCE
PREPROCESSING = {"inference"} | INFERENCE
REGISTRY = {"batching", "preprocessing"} | BATCHING  # A model carries its own preprocessing.
BENCHMARK = {"registry", "measuring"} | REGISTRY
CLASSIFY = {"registry"} | REGISTRY
EDGE = {"classify", "benchmark"} | CLASSIFY | BENCHMARK
DIRECT = set()
EXECUTION = {"direct", "inference", "measuring"} | INFERENCE
OFFLINE = {"registry", "execution"} | REGISTRY | EXECUTION
TRIAL = {"inference"} | INFERENCE  # Knows processes and bytes; what a trial does is a parameter.
ARROWS = {
    "base": BASE,
    "measuring": MEASURING,
    "config": CONFIG,
    "metrics": METRICS,
    "inference": INFERENCE,
    "batching": BATCHING,
    "preprocessing": PREPROCESSING,
    "registry": REGISTRY,
    "benchmark": BENCHMARK,
    "classify": CLASSIFY,
    "rpc": EDGE,
    "http": EDGE,
    "direct": DIRECT,
    "execution": EXECUTION,
    "offline": OFFLINE,
    "trial": TRIAL,
    "daemon": {"rpc", "http", "execution", "trial"} | EDGE,
    "main": {"daemon", "offline", "trial", "config", "base"},
    "fakes": {"inference"} | INFERENCE,  # tests/unit/fakes, which every test may include.
}

# Include prefix: the parts that may use it. A part is a folder under server/, or client or bench;
# the unit tests of a part may use what the part may.
LIBRARIES = {
    "torch/": {"execution", "bench"},
    "ATen/": {"execution", "bench"},
    "c10/": {"execution", "bench"},
    "grpcpp/": {"rpc", "daemon", "client", "bench"},
    "grpc/": {"rpc", "daemon", "client", "bench"},
    "google/protobuf/": {"rpc", "client", "bench"},
    "torchd/v1/": {"rpc", "client", "bench"},
    "microhttpd.h": {"http"},
    "prometheus/": {"metrics", "http"},
    "yaml-cpp/": {"config"},
    "oneapi/": {"direct"},
    "jpeglib.h": {"preprocessing"},
    "jerror.h": {"preprocessing"},
    "spng.h": {"preprocessing"},
    "webp/": {"preprocessing"},
    "unicode/": {"preprocessing"},
}

LINES_MAX = 400
# A file that was longer before the rule may shrink here, never grow: path -> its lines.
LONGER = {}

INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)


def part_of(path):
    """(part, is_test) of a path relative to the root, or (None, False): not under the rules."""
    pieces = path.parts
    if pieces[0] == "server":
        return ("main" if len(pieces) == 2 else pieces[1]), False
    if pieces[:2] == ("tests", "unit") and len(pieces) > 3:
        return pieces[2], True
    if pieces[0] in ("client", "bench"):
        return pieces[0], False
    return None, False


def include_problem(part, is_test, header):
    if header.startswith("server/"):
        target = header.split("/")[1]
        if target == part or part == "bench":
            return None
        if part == "client":
            return "the client knows the wire, not the server"
        if target not in ARROWS.get(part, set()):
            return f"no arrow {part} -> {target}"
        return None
    if header.startswith("client/") and part not in ("client", "bench"):
        return "the server does not know its client"
    if header.startswith("bench/") and part != "bench":
        return "only benchmarks include benchmarks"
    if header.startswith("tests/") and not is_test:
        return "only tests include tests"
    for prefix, parts in LIBRARIES.items():
        if header.startswith(prefix) and part not in parts:
            return f"{prefix} belongs to {', '.join(sorted(parts))}"
    return None


def check_file(root, path):
    text = path.read_text(encoding="utf-8")
    relative = path.relative_to(root)
    part, is_test = part_of(relative)
    problems = []
    if part is not None:
        if part not in ARROWS and part not in ("client", "bench"):
            problems.append(f"{relative}: folder {part} is not in the table of arrows")
        for match in INCLUDE.finditer(text):
            problem = include_problem(part, is_test, match.group(1))
            if problem:
                line = text.count("\n", 0, match.start(1)) + 1
                problems.append(f"{relative}:{line}: includes {match.group(1)}: {problem}")
    lines = text.count("\n")
    allowed = LONGER.get(str(relative), LINES_MAX)
    if lines > allowed:
        problems.append(f"{relative}: {lines} lines, at most {allowed}")
    return problems


def check_tree(root):
    problems = []
    files = 0
    for folder in ("server", "client", "bench", "tests", "export", "scripts"):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in (".h", ".cc", ".py", ".sh") and path.is_file():
                files += 1
                problems += check_file(root, path)
    for name in LONGER:
        if not (root / name).is_file():
            problems.append(f"{name}: gone, so take it out of LONGER")
    return files, problems


PLANTED = {  # File: its text; each breaks exactly one rule.
    "server/base/up.h": '#include "server/rpc/server.h"\n',
    "server/inference/torch.h": "#include <torch/script.h>\n",
    "server/classify/wire.cc": "  #  include <grpcpp/grpcpp.h>\n",
    "server/rpc/yaml.cc": "#include <yaml-cpp/yaml.h>\n",
    "server/preprocessing/image/queue.h": '#include "server/batching/queue.h"\n',
    "server/newcomer/a.h": "#pragma once\n",
    "server/registry/client.cc": '#include "client/torchd_client.h"\n',
    "client/server.cc": '#include "server/base/log.h"\n',
    "client/bench.cc": '#include "bench/quantiles.h"\n',
    "server/base/test.cc": '#include "tests/unit/base/fake.h"\n',
    "tests/unit/batching/torch_test.cc": "#include <c10/core/Device.h>\n",
    "server/trial/load.cc": '#include "server/execution/torch_model.h"\n',
    "server/base/long.cc": "//\n" * (LINES_MAX + 1),
}
ALLOWED = {
    "server/execution/torch.cc": '#include <torch/script.h>\n#include "server/inference/model.h"\n',
    "server/main.cc": '#include "server/daemon/daemon.h"\n#include <string>\n',
    "tests/unit/rpc/a_test.cc": '#include <grpcpp/grpcpp.h>\n#include "tests/unit/rpc/fake.h"\n',
    "server/base/just.cc": "//\n" * LINES_MAX,
}


def self_check():
    """What the rules miss of the planted violations, and what they accuse wrongly."""
    faults = []
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for name, text in {**PLANTED, **ALLOWED}.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text, encoding="utf-8")
            count = len(check_file(root, root / name))
            expected = 1 if name in PLANTED else 0
            if count != expected:
                faults.append(f"self-check: {name}: {count} problems found, expected {expected}")
        if check_tree(root)[0] != len(PLANTED) + len(ALLOWED):
            faults.append("self-check: the walk over the tree misses files")
    return faults


def main():
    faults = self_check()
    files, problems = check_tree(ROOT)
    if files < 10:
        faults.append(f"only {files} files found under {ROOT}")
    for line in faults + problems:
        print(line, file=sys.stderr)
    print(f"arrows: {files} files, {len(problems)} problems")
    return 1 if faults or problems else 0


if __name__ == "__main__":
    sys.exit(main())
