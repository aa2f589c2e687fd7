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
# Says what to try once there is somebody to answer, and where.
addresses=build/run-addresses.json
rm -f "$addresses"
(
  until [ -s "$addresses" ]; do
    kill -0 $$ 2>/dev/null || exit 0
    sleep 0.05
  done
  grpc=$(sed -E 's/.*"grpc": "([^"]*)".*/\1/' "$addresses")
  http=$(sed -E 's/.*"http": "([^"]*)".*/\1/' "$addresses")
  address=
  [ "$grpc" = 127.0.0.1:8001 ] || address=" --address $grpc"
  echo "Serving build/demo-models: gRPC on $grpc, HTTP on $http; Ctrl-C ends it. In another terminal:"
  echo "  build/release/torchctl classify$address tests/data/cat.jpg"
) &
exec env TORCHD_ADDRESS_FILE="$addresses" build/release/torchd --model-repository build/demo-models "$@"
