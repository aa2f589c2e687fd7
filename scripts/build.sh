#!/bin/bash
# Configures a preset once and builds it: `scripts/build.sh release [target ...]`.
# JOBS: how many compilers at once (default: one per core).
set -euo pipefail
cd "$(dirname "$0")/.."

preset=${1:?which preset, see CMakePresets.json}
shift
# Later runs leave it to ninja to notice changed CMake files: a configure costs seconds.
[ -f "build/$preset/build.ninja" ] || cmake --preset "$preset" --log-level=WARNING
targets=()
[ $# -eq 0 ] || targets=(--target "$@")
quiet=()
[ -t 1 ] || quiet=(-- --quiet)  # A log wants errors; a person wants to see it move.
cmake --build --preset "$preset" --parallel "${JOBS:-$(nproc)}" "${targets[@]}" "${quiet[@]}"
