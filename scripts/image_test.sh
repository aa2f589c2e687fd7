#!/bin/bash
# Builds the image without a container engine or a registry, starts it, has it classify the cat, and
# stops it: debootstrap makes the base, buildah builds and runs in a chroot. Needs root.
set -euo pipefail
cd "$(dirname "$0")/.."

[ "$(id -u)" -eq 0 ] || { echo "image_test.sh: debootstrap needs root: sudo make image-test" >&2; exit 2; }
scripts/apt.sh image
scripts/venv.sh export
scripts/demo.sh
store=$PWD/build/image
mkdir -p "$store"
buildah=(buildah --storage-driver vfs --root "$store/storage" --runroot "$store/run")
base=localhost/debian:bookworm-slim
site=$(apt-get indextargets --format '$(SITE)' | grep -m1 '/debian/\?$')

if ! "${buildah[@]}" inspect --type image "$base" >/dev/null 2>&1; then
  rm -rf "$store/base"
  debootstrap --variant=minbase bookworm "$store/base" "$site"
  container=$("${buildah[@]}" from scratch)
  "${buildah[@]}" add --quiet "$container" "$store/base" / >/dev/null
  "${buildah[@]}" commit --quiet "$container" "$base" >/dev/null
  "${buildah[@]}" rm "$container" >/dev/null
  rm -rf "$store/base"
fi

# This machine's certificates and pip settings hold for its network, so the build sees them too.
# Not at their usual places: the base's own packages write there.
{
  [ ! -f /etc/pip.conf ] || sed '/^ *cert *=/d' /etc/pip.conf
  printf '[global]\ncert = /run/host-certificates.crt\n'
} | awk '!/^\[global\]/ || !seen++' >"$store/pip.conf"
mounts=(--volume /etc/ssl/certs/ca-certificates.crt:/run/host-certificates.crt:ro
  --volume "$store/pip.conf:/etc/pip.conf:ro")
"${buildah[@]}" build --isolation chroot --target cpu --tag torchd:cpu "${mounts[@]}" \
  --build-arg "BASE=$base" --build-arg "TORCH_INDEX_URL=${TORCH_INDEX_URL:-}" .

container=$("${buildah[@]}" from torchd:cpu)
shared=$(mktemp -d)
chmod 777 "$shared"  # The daemon is not root in there.
daemon=
finish() {
  [ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true
  "${buildah[@]}" rm "$container" >/dev/null || true
  rm -rf "$shared"
}
trap finish EXIT
[ "$("${buildah[@]}" inspect --format '{{.OCIv1.Config.User}}' "$container")" = 8001 ]

"${buildah[@]}" run --isolation chroot --volume "$PWD/build/demo-models:/models:ro" \
  --volume "$shared:/shared" "$container" -- /opt/torchd/bin/torchd --model-repository=/models \
  --grpc-address=127.0.0.1:0 --http-address=127.0.0.1:0 --address-file=/shared/addresses.json \
  2>"$shared/log" &
runner=$!
for _ in $(seq 300); do
  [ ! -s "$shared/addresses.json" ] || break
  kill -0 "$runner" 2>/dev/null || { cat "$shared/log" >&2; exit 1; }
  sleep 0.2
done
[ -s "$shared/addresses.json" ] || { echo "not ready after 60 s:" >&2; cat "$shared/log" >&2; exit 1; }

# Signals go to torchd itself: buildah puts processes of its own between it and this shell.
daemon=$runner
while child=$(pgrep -P "$daemon"); do daemon=$child; done
[ "$(ps -o uid= -p "$daemon" | tr -d ' ')" = 8001 ] || { echo "torchd runs as another user" >&2; exit 1; }
address=$(sed -nE 's/.*"grpc": *"([^"]+)".*/\1/p' "$shared/addresses.json")
answer=$(build/release/torchctl --address "$address" classify tests/data/cat.jpg)
echo "$answer"
grep -qiE 'cat|tabby' <<<"$answer" || { echo "the cat is not a cat" >&2; exit 1; }

kill -TERM "$daemon"
daemon=
code=0
wait "$runner" || code=$?
[ "$code" -eq 0 ] || { echo "exit code $code after SIGTERM" >&2; cat "$shared/log" >&2; exit 1; }
echo "image: $("${buildah[@]}" images --format '{{.Size}}' torchd:cpu); classified, stopped, exit code 0"
