#!/bin/bash
# Every test, in the order in which a mistake is found soonest; stops at the first step that fails,
# by name. ONLY="step step" runs those alone.
set -uo pipefail
cd "$(dirname "$0")/.."

steps=(packages format arrows release unit tidy thread-safety layering asan tsan demo export
  end-to-end)
summary=()

step_packages() { scripts/apt.sh test && scripts/venv.sh build; }
step_format() { scripts/lint.sh format-check; }
step_arrows() { python3 tests/arrows/arrows_test.py; }
step_release() {
  # The Python packages come over the network while the compilers have the cores.
  { scripts/venv.sh export && scripts/venv.sh test; } &
  local python=$!
  scripts/build.sh release
  local built=$?
  wait "$python" && return "$built"
}
step_unit() { ctest --preset release; }
step_tidy() { scripts/lint.sh tidy; }
step_thread-safety() { scripts/build.sh thread-safety; }
step_layering() { scripts/build.sh layering; }
step_asan() { scripts/build.sh asan && ctest --preset asan; }
step_tsan() { scripts/tsan.sh; }
step_demo() { scripts/demo.sh; }
step_export() { build/venv/bin/python -m pytest -q -p no:cacheprovider tests/export; }
step_end-to-end() { build/venv/bin/python -m pytest -q -p no:cacheprovider tests/end_to_end; }

report() {
  echo "----"
  printf '%s\n' "${summary[@]}"
}

for step in "${steps[@]}"; do
  [ -z "${ONLY:-}" ] || [[ " $ONLY " == *" $step "* ]] || continue
  echo "==== $step"
  begun=$SECONDS
  if ! "step_$step"; then
    summary+=("$(printf '%-14s %4d s  FAILED' "$step" $((SECONDS - begun)))")
    report
    echo "make test: $step failed; alone: make test ONLY=$step" >&2
    exit 1
  fi
  summary+=("$(printf '%-14s %4d s  ok' "$step" $((SECONDS - begun)))")
done
[ ${#summary[@]} -gt 0 ] || { echo "make test: no step named '$ONLY' (${steps[*]})" >&2; exit 2; }
report
echo "all passed in $SECONDS s"
