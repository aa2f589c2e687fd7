#!/bin/bash
# clang-format and clang-tidy over the sources: `scripts/lint.sh [format-check|tidy|fix] [FILE...]`.
# clang-tidy remembers what it found clean: a file is looked at again only when it, a header of ours
# or the checks change.
set -euo pipefail
cd "$(dirname "$0")/.."

sources() { find server client bench tests -name '*.cc' -o -name '*.h' | sort; }

check_format() {
  sources | xargs clang-format-14 --dry-run --Werror
}

tidy_one() {
  local file=$1 headers=$2
  local key
  key=$( (echo "$headers"; cat "$file") | sha256sum | cut -c1-24)
  [ -f "build/tidy/$key" ] && return 0
  clang-tidy-14 --quiet --extra-arg=-Wno-unknown-warning-option -p build/release "$file" 2>"build/tidy/$key.err" || {
    grep -v 'warnings generated\|warnings treated as errors' "build/tidy/$key.err" >&2
    rm -f "build/tidy/$key.err"
    return 1
  }
  mv "build/tidy/$key.err" "build/tidy/$key"
}

tidy() {
  mkdir -p build/tidy
  # Any header counts for every file: a wrong "clean" costs more than another look.
  local headers
  headers=$(cat .clang-tidy $(sources | grep '\.h$') proto/torchd/v1/*.proto | sha256sum)
  # Not the tests and benchmarks: GoogleTest's macros are full of alarms. Nor the client's example,
  # which sees an installed package alone.
  export -f tidy_one
  { [ $# -gt 0 ] && printf '%s\n' "$@" ||
    sources | grep '\.cc$' | grep -vE '^(bench|tests|client/example)/'; } |
    xargs -P "${JOBS:-$(nproc)}" -I{} bash -c 'tidy_one "$1" "$2"' _ {} "$headers"
}

what=${1:-all}
[ $# -eq 0 ] || shift
case "$what" in
  fix) sources | xargs clang-format-14 -i ;;
  format-check) check_format ;;
  tidy) tidy "$@" ;;
  all) check_format && tidy ;;
  *) echo "lint.sh: '$what' is none of fix, format-check, tidy, all" >&2; exit 2 ;;
esac
