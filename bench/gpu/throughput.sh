#!/usr/bin/env bash
# Measures and verifies steps of optimizers on models, one process for each pair, as not all of them fit into every memory.
#
#   throughput.sh FOLDER DEVICE TIME CASE...      a case is gpubench's flags, such as '-model gpt2'
#
# FOLDER gets the JSON of each pair, and all of them in throughput.json. Standard output is a table. The exit status is 1 if any pair
# failed other than for want of memory.
set -uo pipefail
cd "$(dirname "$0")"
folder=$1 device=$2 time=$3
shift 3
mkdir -p "$folder/throughput"
bad=0

# value KEY FILE is a number or word of gpubench's JSON, which has a line for each.
value() { sed -n "s/^ *\"$1\": \"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}\$/\1/p" "$2" | head -1; }

row='%-22s %-14s %15s %6s %12s %9s %9s %9s %6s %9s %8s\n'
# shellcheck disable=SC2059 # one format for all rows
printf "$row" case optimizer params B/par ms/step GB/s ceiling copy ratio verified max-ulp
for case in "$@"; do
  for optimizer in sgd sgd-momentum adamw adamw-amsgrad; do
    file=$folder/throughput/$(tr -cs 'A-Za-z0-9.\n' - <<<"${case#-} $optimizer").json
    # shellcheck disable=SC2086 # a case is several arguments
    timeout -k 5 60 ./gpubench-cuda -device "$device" -optimizer "$optimizer" $case -time "$time" -verify -format json >"$file" 2>"$folder/error"
    status=$?
    if [ "$status" != 0 ] && grep -q ' needs .* of memory: ' "$folder/error"; then
      printf '%-22s %-14s does not fit: %s\n' "$case" "$optimizer" "$(sed 's/.* needs/needs/' "$folder/error")"
      rm "$file"
      continue
    elif [ "$status" != 0 ]; then
      printf '%-22s %-14s FAILED with status %s: %s\n' "$case" "$optimizer" "$status" "$(cat "$folder/error")"
      bad=1
    fi
    if [ -s "$file" ]; then # a wrong result is measured too
      # shellcheck disable=SC2059
      printf "$row" "$case" "$optimizer" "$(value params "$file")" "$(value bytes_per_param "$file")" \
        "$(awk -v s="$(value seconds_per_step "$file")" 'BEGIN {printf "%.4f", s * 1e3}')" \
        "$(printf %.1f "$(value gb_per_s "$file")")" "$(printf %.1f "$(value ceiling_gb_per_s "$file")")" \
        "$(printf %.1f "$(value copy_gb_per_s "$file")")" "$(printf %.3f "$(value ratio_to_ceiling "$file")")" \
        "$(value verified "$file")" "$(value max_ulp "$file")"
    else
      rm -f "$file"
    fi
    # Written each time, so that what is there is whole whenever the time is up.
    {
      echo '['
      comma=
      for f in "$folder"/throughput/*.json; do
        [ -e "$f" ] || continue
        printf '%s' "$comma"
        cat "$f"
        comma=,
      done
      echo ']'
    } >"$folder/throughput.json"
  done
done
rm -f "$folder/error"
exit $bad
