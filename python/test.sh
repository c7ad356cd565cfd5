#!/usr/bin/env bash
# Installs dist/'s wheel into a fresh environment and tests it there.
#
#   test.sh [PYTHON]
#
# PYTHON is an interpreter that has torch, which the environment then sees. Without it torch comes from PyPI: gigabytes, as its CUDA libraries come too.
# Bin/emulated has the emulated GPUs, as `make test-python` builds them.
# All that comes from PyPI is held to its hash.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
  echo "test.sh: $*" >&2
  exit 1
}
"${python:-python3}" -m venv "$work/venv" || fail "${python:-python3} makes no environment: Python 3.11 with venv is needed"
in=$work/venv/bin/python
from_pypi="is not to be had: the tests need PyPI, or its mirror as pip and uv are told of it"
"$in" -m pip install --quiet --disable-pip-version-check --require-hashes -r python/tests/uv.txt || fail "uv $from_pypi"
requirements=(-r python/tests/requirements.txt)
if [ -n "$python" ]; then
  site=$("$in" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  "$python" -c 'import os, torch; print(os.path.dirname(os.path.dirname(torch.__file__)))' >"$site/torch.pth" || fail "$python has no torch"
else
  requirements+=(-r bench/peers/requirements.txt)
fi
"$in" -m uv pip install --quiet --python "$in" --no-deps --require-hashes "${requirements[@]}" || fail "what the tests need $from_pypi${python:+, beside $python}"
"$in" -m uv pip install --quiet --python "$in" --no-index --no-deps dist/fusestep-*.whl
cd python/tests # so that the package is the wheel's
"$in" -m pytest -q -p no:cacheprovider --ignore=cuda .
cd cuda # in a process of its own, as torch would take the emulated GPUs for some that it can use
# What Go's collector finds waits for the GPU, whenever that is, and these tests see what waits.
GOGC=off GOMEMLIMIT=2GiB FUSESTEP_LIBCUDA=$OLDPWD/../../bin/emulated/libcuda.so.1 "$in" -m pytest -q -p no:cacheprovider .
