#!/bin/bash
# Builds and runs the unit tests under ThreadSanitizer.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/build.sh tsan
# GCC 12's runtime refuses kernels that randomise more address bits than it knows.
setarch "$(uname -m)" --addr-no-randomize ctest --preset tsan
