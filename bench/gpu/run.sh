#!/usr/bin/env bash
# Tests and measures fusestep on this machine's GPU, in at most 8 minutes. README.md says what it does and what it leaves.
#
#   run.sh [folder for the results, default ./results]
#
#   FUSESTEP_DEVICE=cuda:1   another GPU than the first
#   FUSESTEP_DEVICE=emu      a rehearsal on an emulated GPU, with small sizes; its times mean nothing
#
# What is worth most comes first. A part that fails or takes too long does not keep the others from running. The exit status is 0 if none
# did.
set -uo pipefail
out=$(realpath -m "${1:-results}")
device=${FUSESTEP_DEVICE:-cuda}
export FUSESTEP_DEVICE=$device
cd "$(dirname "$0")"
mkdir -p "$out"
if [ -n "$(ls -A "$out")" ]; then
  echo "run.sh: $out is not empty: old results and new ones would mix" >&2
  exit 2
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
deadline=470 # of SECONDS: what is left to 480 is for ending what runs then
failed=0
late=late # what a part is that has taken too long
parts=()

say() { echo "$*" | tee -a "$out/summary.txt"; }

# done_with NAME STATUS SECONDS [WHY] notes how a part ended.
done_with() {
  say "$(printf '%-19s %-8s %4ss  %s' "$1" "$2" "$3" "${4:-}")"
  parts+=("$(printf '{"name": "%s", "status": "%s", "seconds": %s, "why": "%s"}' "$1" "$2" "$3" "${4:-}")")
  case $2 in failed | late) failed=1 ;; esac
  summary
}

# summary writes summary.json, which so is whole whenever this script is stopped.
summary() {
  {
    printf '{"revision": "%s", "gpu": "%s", "device": "%s", "date": "%s", "driver": "%s", "ok": %s, "seconds": %s, "parts": [\n' \
      "$(cat REVISION)" "$model" "$device" "$date" "$driver" "$([ $failed = 0 ] && echo true || echo false)" "$SECONDS"
    printf '%s' "${parts[0]}"
    [ ${#parts[@]} = 1 ] || printf ',\n%s' "${parts[@]:1}"
    printf '\n]}\n'
  } >"$out/summary.json"
}

# part NAME LIMIT COMMAND... runs a part with a limit of seconds. Its output is in $work/NAME, and in log.txt.
part() {
  local name=$1 limit=$2 left=$((deadline - SECONDS)) began=$SECONDS status
  shift 2
  ((limit < left)) || limit=$left
  if ((limit < 5)); then
    done_with "$name" "$late" 0 "no time was left for it"
    return
  fi
  echo "== $name, at most $limit s"
  timeout -k 5 "$limit" "$@" >"$work/$name" 2>&1 </dev/null
  status=$?
  { echo "== $name" && tr -d '\026' <"$work/$name"; } >>"$out/log.txt"
  case $status in
    0) done_with "$name" ok $((SECONDS - began)) ;;
    124 | 137)
      if grep -qa -e '--- FAIL' "$work/$name"; then late=failed; fi
      done_with "$name" "$late" $((SECONDS - began)) "stopped after $limit s: see log.txt"
      ;;
    *) done_with "$name" failed $((SECONDS - began)) "exit status $status: see log.txt" ;;
  esac
  [ $status = 0 ] || tr -d '\026' <"$work/$name" | grep -aE 'FAIL|panic|_test\.go:|ERROR' | head -20 | tee -a "$out/summary.txt"
}

# table NAME puts what a part has printed into the text to read.
table() {
  [ -s "$work/$1" ] && { echo && cat "$work/$1" && echo; } | tee -a "$out/summary.txt"
}

# What there is to measure.
if ! ./gpubench-cuda -device "$device" -optimizer sgd -n 1000 -time 1ms -format json >"$work/machine" 2>"$work/error"; then
  echo "run.sh: there is no GPU to test: $(cat "$work/error")" | tee "$out/summary.txt" >&2
  exit 1
fi
model=$(sed -n 's/^ *"gpu": "\(.*\)",$/\1/p' "$work/machine")
date=$(date -u +%Y-%m-%dT%H:%M:%SZ)
driver=
: >"$out/summary.txt"
{ echo "== the machine" && cat "$work/machine"; } >"$out/log.txt"
if command -v nvidia-smi >/dev/null; then
  nvidia-smi -q >>"$out/log.txt" 2>&1
  driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader | head -1)
fi
say "fusestep $(cat REVISION) on $model ($device), driver ${driver:-unknown}, $date"
[ "$device" != emu ] || say "A rehearsal: the GPU is emulated, and all times mean nothing."

optimizers="adamw sgd sgd-momentum adamw-amsgrad"
if [ "$device" = emu ]; then
  cases=('-n 20000' '-shape 100x30,33,1' '-model gpt2-xl') time=5ms sweep=5ms
  flat='-n 20000' small='-shape 100x30,33,1' grids="0 5" flat_chunks="2048" small_chunks="16" hints=",cs,wt ,,cs"
  torch=(--flat 20000 --device cpu --time 5ms --rounds 1)
  export RULES='Lion|Signum_|norm|control'
else
  export REQUIRE_GPU=1
  mapfile -t cases < <(./gpubench-cuda -list -format json | sed -n 's/^{"name":"\([^"]*\)",.*"params":.*/-model \1/p')
  time=500ms sweep=100ms
  flat='-n 5e7' small='-model small-10000' grids="0 5 6 1 16" flat_chunks="2048 4096 8192 16384" small_chunks="512 256" hints=",cs,cs ,cs, ,,cs ,cg,cg ,,wt"
  torch=(--device "$device" --time 200ms --rounds 3)
fi

# The library for C, which has never been on a GPU: a framework's tensors, by address, on its streams. Then torch's, where there is one, and the Python package.
part capi 30 ./capi.test -test.v -test.run '^TestHardware' -test.count 1
if command -v python3 >/dev/null && python3 -c 'import torch' 2>/dev/null; then
  torch_device=$([ "$device" = emu ] && echo cpu || echo "$device")
  part capi-torch 60 python3 capi_torch.py ./libfusestep-cuda.so "$torch_device"
  part fusestep-torch 60 env FUSESTEP_LIBRARY="$PWD/libfusestep-cuda.so" python3 fusestep_torch.py "$torch_device" "$out/fusestep_torch.json"
  table fusestep-torch
else
  done_with capi-torch skipped 0 "there is no python3 that has torch"
  done_with fusestep-torch skipped 0 "there is no python3 that has torch"
fi

# Bit equality: kernels against their rules, whole steps against the CPU's, enqueued and replayed. Then the device's contract.
part kernels 150 ./kernels.sh -test.short
./test2json -t -p device/cuda <"$work/kernels" >"$out/conformance.json"
part device 30 ./cuda.test -test.v=test2json -test.run '^TestHardwareDevice$' -test.count 1
./test2json -t -p device/cuda <"$work/device" >>"$out/conformance.json"

# Throughput, each with a verification: the bits of three steps on wild numbers. In turns with torch where there is one.
if command -v python3 >/dev/null && python3 -c 'import torch' 2>/dev/null; then
  part throughput 150 python3 torch_gpu.py --gpubench ./gpubench-cuda --gpubench-device "$device" --forms forms.txt --seconds 120 --out "$out/throughput.json" "${torch[@]}"
else
  done_with torch skipped 0 "there is no python3 that has torch"
  sed "s/^/0x0 adamw ${cases[0]} /" forms.txt >"$work/cases"
  for optimizer in $optimizers; do printf "0x0 $optimizer %s\n" "${cases[@]}"; done >>"$work/cases"
  part throughput 150 bash -c './measure.sh "$1" "$2" 120 -time "$3" -verify <"$4"' - "$out/throughput.json" "$device" "$time" "$work/cases"
fi
table throughput

# How steps are best launched: blocks for each multiprocessor, hints for caches, and elements of a chunk.
# settings CHUNKS CASE prints cases of measure.sh.
settings() {
  local grid hint chunk
  for grid in $grids; do echo "${grid}x0 adamw $2"; done
  for hint in $hints; do echo "0x0$hint adamw $2"; done
  for chunk in $1; do for grid in $grids; do echo "${grid}x$chunk adamw $2"; done; done
}
settings "$flat_chunks" "$flat" >"$work/flat"
settings "$small_chunks" "$small" >"$work/small"
paste -d '\n' "$work/flat" "$work/small" | grep . >"$work/cases"
part sweep 90 bash -c './measure.sh "$1" "$2" 80 -time "$3" <"$4"' - "$out/sweep.json" "$device" "$sweep" "$work/cases"
table sweep

# What only a sanitizer sees. It makes kernels many times slower, so it gets few.
sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null || true)
if [ -z "$sanitizer" ]; then
  done_with sanitizer skipped 0 "there is no compute-sanitizer"
else
  for tool in memcheck racecheck initcheck synccheck; do
    if ((deadline - SECONDS < 20)); then
      done_with "sanitizer-$tool" skipped 0 "no time was left for it"
      continue
    fi
    part "sanitizer-$tool" 40 "$sanitizer" --tool "$tool" --error-exitcode 9 \
      ./cuda.test -test.v -test.run '^TestHardware(Steps|Replay|Kernels)$/^(norm|optim.AdamW_float32|bfloat16_.*averaged)$' -test.count 1
  done
fi

# All that -short leaves out, for as long as there is time: what is stopped then has been right so far.
late=stopped
part kernels-all 480 ./kernels.sh
./test2json -t -p device/cuda <"$work/kernels-all" >>"$out/conformance.json"

summary
[ $failed = 0 ] && say "All parts that could run did, in $SECONDS s: $out" || say "NOT ALL IS WELL, after $SECONDS s: $out"
exit $failed
