#!/usr/bin/env bash
# Measures steps of optimizers, one process for each, as not all of them fit into every memory.
#
#   measure.sh OUT DEVICE SECONDS FLAGS... <CASES      FLAGS are gpubench's
#
# A line of standard input is a case: a launch geometry (see README.md, 0x0 is the usual), an optimizer, and flags that say on what, such
# as "0x0 adamw -model gpt2 -dtype bf16". None is begun after so many seconds. OUT gets JSON, whole whenever the time is up: a list of
# {"geometry", "gpubench"}, of which the latter is what gpubench says. Standard output is a table. The exit status is 1 if any case failed
# other than for want of memory.
set -uo pipefail
cd "$(dirname "$0")"
out=$1 device=$2 limit=$3
shift 3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=0 left=0 comma=

# value KEY is a number or word of gpubench's JSON, which has a line for each.
value() { sed -n "s/^ *\"$1\": \"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}\$/\1/p" "$work/json" | head -1; }

row='%-14s %-14s %11s %6s %10s %8s %8s %8s %6s %8s %7s  %s\n'
# shellcheck disable=SC2059 # one format for all rows
printf "$row" geometry optimizer params B/par ms/step GB/s ceiling copy ratio verified max-ulp case
: >"$work/list"
echo '[]' >"$out"
while read -r geometry optimizer case; do
  if ((SECONDS >= limit)); then
    left=$((left + 1))
    continue
  fi
  # shellcheck disable=SC2086 # a case is several arguments
  FUSESTEP_CUDA_GEOMETRY=$geometry timeout -k 5 60 ./gpubench-cuda -device "$device" -optimizer "$optimizer" $case "$@" -format json \
    >"$work/json" 2>"$work/error" </dev/null
  status=$?
  if [ "$status" != 0 ] && grep -q ' needs .* of memory: ' "$work/error"; then
    printf '%-14s %-14s %s does not fit: %s\n' "$geometry" "$optimizer" "$case" "$(sed 's/.* needs/needs/' "$work/error")"
    continue
  elif [ "$status" != 0 ]; then
    printf '%-14s %-14s %s FAILED with status %s: %s\n' "$geometry" "$optimizer" "$case" "$status" "$(cat "$work/error")"
    bad=1
  fi
  [ -s "$work/json" ] || continue # a wrong result is measured too
  # shellcheck disable=SC2059
  printf "$row" "$geometry" "$optimizer" "$(value params)" "$(value bytes_per_param)" \
    "$(awk -v s="$(value seconds_per_step)" 'BEGIN {printf "%.4f", s * 1e3}')" \
    "$(printf %.1f "$(value gb_per_s)")" "$(printf %.1f "$(value ceiling_gb_per_s)")" \
    "$(printf %.1f "$(value copy_gb_per_s)")" "$(printf %.3f "$(value ratio_to_ceiling)")" "$(value verified)" "$(value max_ulp)" "$case"
  {
    printf '%s{"geometry": "%s", "gpubench":\n' "$comma" "$geometry"
    cat "$work/json"
    echo '}'
  } >>"$work/list"
  comma=,
  { echo '[' && cat "$work/list" && echo ']'; } >"$work/whole"
  mv "$work/whole" "$out"
done
[ $left = 0 ] || echo "$left cases are left out: the time of $limit s was up"
exit $bad
