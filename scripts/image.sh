#!/bin/bash
# Builds the container image torchd:cpu with the first builder found: docker, podman, buildah.
# BASE names the base image, IMAGE the result, TORCH_INDEX_URL another index for torch.
set -euo pipefail
cd "$(dirname "$0")/.."

arguments=(--target cpu --tag "${IMAGE:-torchd:cpu}"
  --build-arg "BASE=${BASE:-debian:bookworm-slim}"
  --build-arg "TORCH_INDEX_URL=${TORCH_INDEX_URL:-}")
for builder in docker podman buildah; do
  command -v "$builder" >/dev/null && exec "$builder" build "${arguments[@]}" .
done
echo "image.sh: none of docker, podman, buildah is installed" >&2
exit 2
