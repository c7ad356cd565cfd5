#!/usr/bin/env bash
# Installs dist/'s wheel into a fresh environment and tests it there.
#
#   test.sh [PYTHON]
#
# PYTHON is an interpreter that has torch, which the environment then sees. Without it torch comes from PyPI, held to its hash.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${python:-python3}" -m venv "$work/venv"
pip() { "$work/venv/bin/python" -m pip --quiet --disable-pip-version-check "$@"; }
if [ -n "$python" ]; then
  site=$("$work/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  "$python" -c 'import os, torch; print(os.path.dirname(os.path.dirname(torch.__file__)))' >"$site/torch.pth"
else
  pip install --require-hashes -r bench/peers/requirements.txt
fi
pip install --require-hashes -r python/tests/requirements.txt
pip install --no-index --no-deps dist/fusestep-*.whl
cd python/tests # so that the package is the wheel's
"$work/venv/bin/python" -m pytest -q -p no:cacheprovider .
