#!/bin/bash
# Makes build/venv hold a set of requirements: `scripts/venv.sh build|export|test|bench`.
# A stamp named after the requirements' hash makes the second call free. The sets share one folder,
# so a lock keeps two pips from running at once.
#
# TORCH_INDEX_URL: an index for torch and torchvision alone, such as one with CPU-only wheels.
set -euo pipefail
cd "$(dirname "$0")/.."

set_name=${1:?which set: build, export, test or bench}
requirements=scripts/requirements/$set_name.txt
[ -f "$requirements" ] || { echo "venv.sh: no $requirements" >&2; exit 2; }
key=$( (cat "$requirements"; echo "${TORCH_INDEX_URL:-}") | sha256sum | cut -c1-16)
stamp=build/venv/.torchd-$set_name-$key
[ -f "$stamp" ] && exit 0

mkdir -p build
exec 9>build/venv.lock
flock 9
[ -f "$stamp" ] && exit 0  # Another call made it meanwhile.
# Debian's Python, whatever else is first in PATH: LibTorch's path has its version in it.
[ -x build/venv/bin/pip ] || /usr/bin/python3 -m venv build/venv
pip=(build/venv/bin/pip --disable-pip-version-check install --quiet --no-deps
  --progress-bar off)
echo "installing Python packages: $set_name"
if [ -n "${TORCH_INDEX_URL:-}" ]; then
  # A wheel from there brings its own libraries or none: nothing of CUDA is wanted.
  torch=$(grep -E '^(torch|torchvision)==' "$requirements" || true)
  if [ -n "$torch" ]; then
    # shellcheck disable=SC2086  # One requirement a word.
    "${pip[@]}" --index-url "$TORCH_INDEX_URL" $torch
  fi
  rest=$(sed '/^# cuda$/,$d' "$requirements" | grep -vE '^(#|torch==|torchvision==|nvidia-)' || true)
  if [ -n "$rest" ]; then
    # shellcheck disable=SC2086
    "${pip[@]}" $rest
  fi
else
  "${pip[@]}" -r "$requirements"
fi
rm -f build/venv/.torchd-"$set_name"-*
touch "$stamp"
