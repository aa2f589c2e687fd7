#!/bin/bash
# Builds the targets of tests/fuzz with libFuzzer and lets each search for so many seconds, from the
# corpus that is committed: `scripts/fuzz.sh 60`. What it finds beside that stays in build/fuzz/corpus;
# an input that fails, in build/fuzz.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:?how many seconds each}
scripts/build.sh fuzz
for name in image request tokenizer; do
  echo "==== fuzz_$name"
  mkdir -p "build/fuzz/corpus/$name"
  "build/fuzz/fuzz_$name" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=1024 -max_len=8192 \
    -print_final_stats=1 -verbosity=0 -artifact_prefix="build/fuzz/$name-" \
    "build/fuzz/corpus/$name" "tests/fuzz/corpus/$name"
done
