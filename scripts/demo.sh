#!/usr/bin/env bash
# Makes the demo repository build/demo-models. Well under a second when it is there already.
# Needs the exporter's Python packages in build/venv (scripts/requirements/export.txt).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=build/venv/bin/python
if [[ ! -x $python ]]; then
  echo "scripts/demo.sh: no $python; expected a venv with scripts/requirements/export.txt: make demo" >&2
  exit 1
fi
PYTHONPATH=export exec "$python" -m torchd_export efficientnet-lite0 --repository build/demo-models
