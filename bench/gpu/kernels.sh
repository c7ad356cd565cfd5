#!/usr/bin/env bash
# Runs the tests of kernels and of whole steps in several processes at once: each waits most of the time for one processor, which evaluates
# the rules. Arguments are flags of the tests. Standard output is that of all, one after the other. RULES, an expression for names of rules, leaves
# out the others.
set -uo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'cat "$work"/*; rm -rf "$work"' EXIT
trap 'exit 124' TERM
tests=()

# start FLAGS... starts tests.
start() {
  ./cuda.test -test.v=test2json -test.count 1 "$@" >"$work/${#tests[@]}" 2>&1 &
  tests+=($!)
}

start -test.run '^TestHardware(Steps|Replay)$' "$@"
if [ -n "${RULES:-}" ]; then
  start -test.run "^TestHardwareKernels\$/^($RULES)" "$@"
else
  # About as many kernels each; what is behind the loop is all others.
  shares=('(?i)ada[b-g]' '(?i)ad(a[^b-g]|[^a])' '(?i)a[^d]' '(?i)[b-p]' '(?i)r' '(?i)sc' '(?i)s[^c]')
  for share in "${shares[@]}"; do start -test.run "^TestHardwareKernels\$/^($share)" "$@"; done
  start -test.run '^TestHardwareKernels$' -test.skip "^TestHardwareKernels\$/^($(IFS='|' && echo "${shares[*]}"))" "$@"
fi
status=0
for pid in "${tests[@]}"; do wait "$pid" || status=1; done
exit $status
