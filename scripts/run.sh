#!/bin/bash
# From a fresh clone to a daemon that serves the demo repository in the foreground.
# Arguments go to torchd.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/apt.sh build
scripts/venv.sh build
# The compilers need the cores and the exporter's packages need the network: side by side.
scripts/venv.sh export &
exporter=$!
trap 'kill "$exporter" 2>/dev/null || true' EXIT
scripts/build.sh release torchd torchctl
wait "$exporter"
trap - EXIT
scripts/demo.sh
cat <<'TEXT'
Serving build/demo-models; Ctrl-C ends it. When it is ready, try in another terminal:
  build/release/torchctl classify tests/data/cat.jpg
TEXT
exec build/release/torchd --model-repository build/demo-models "$@"
