#!/usr/bin/env bash
# Tests and measures fusestep on this machine's GPU, in under 8 minutes. README.md says what it does and what it leaves.
#
#   run.sh [folder for the results, default ./results]
#
#   FUSESTEP_DEVICE=cuda:1   another GPU than the first
#   FUSESTEP_DEVICE=emu      a rehearsal on an emulated GPU, with small sizes; its times mean nothing
#
# A part that fails or takes too long does not keep the others from running. The exit status is 0 if none did.
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
deadline=$((SECONDS + 460))
failed=0
: >"$out/summary.txt"
parts=()

say() { echo "$*" | tee -a "$out/summary.txt"; }

# done_with NAME STATUS SECONDS [WHY] notes how a part ended.
done_with() {
  say "$(printf '%-19s %-8s %4ss  %s' "$1" "$2" "$3" "${4:-}")"
  parts+=("$(printf '{"name": "%s", "status": "%s", "seconds": %s, "why": "%s"}' "$1" "$2" "$3" "${4:-}")")
  case $2 in failed | late) failed=1 ;; esac
}

# part NAME LIMIT COMMAND... runs a part with a limit of seconds, its output in a file of its name.
part() {
  local name=$1 limit=$2 left=$((deadline - SECONDS)) began=$SECONDS status
  shift 2
  ((limit < left)) || limit=$left
  if ((limit < 5)); then
    done_with "$name" late 0 "no time was left for it"
    return
  fi
  echo "== $name, at most $limit s"
  timeout -k 5 "$limit" "$@" >"$out/$name.txt" 2>&1 </dev/null
  status=$?
  case $status in
    0) done_with "$name" ok $((SECONDS - began)) ;;
    124 | 137) done_with "$name" late $((SECONDS - began)) "stopped after $limit s: see $name.txt" ;;
    *) done_with "$name" failed $((SECONDS - began)) "exit status $status: see $name.txt" ;;
  esac
}

# What there is to measure.
if ! ./gpubench-cuda -device "$device" -optimizer sgd -n 1000 -time 1ms -format json >"$out/device.json" 2>"$out/error.txt"; then
  echo "run.sh: there is no GPU to test: $(cat "$out/error.txt")" | tee "$out/summary.txt" >&2
  rm "$out/error.txt" "$out/device.json"
  exit 1
fi
rm "$out/error.txt"
model=$(sed -n 's/^ *"gpu": "\(.*\)",$/\1/p' "$out/device.json")
date=$(date -u +%Y-%m-%dT%H:%M:%SZ)
say "fusestep $(cat REVISION) on $model ($device), $date"
[ "$device" != emu ] || say "A rehearsal: the GPU is emulated, and all times mean nothing."
if command -v nvidia-smi >/dev/null; then
  nvidia-smi -q >"$out/nvidia-smi.txt" 2>&1
  say "driver $(nvidia-smi --query-gpu=driver_version --format=csv,noheader | head -1)"
fi

if [ "$device" = emu ]; then
  cases=('-n 20000' '-shape 100x30,33,1' '-model gpt2-xl') time=5ms
  peers=(--flat 20000 --device cpu --time 5ms --rounds 1)
else
  export REQUIRE_GPU=1
  mapfile -t cases < <(./gpubench-cuda -list -format json | sed -n 's/^{"name":"\([^"]*\)",.*"params":.*/-model \1/p') && time=500ms
  peers=(--device "$device")
fi

# Conformance and bit equality: the device's contract, every kernel against its rule, whole steps against the CPU's.
part conformance 110 ./cuda.test -test.v=test2json -test.run '^TestHardware' -test.count 1
cp "$out/conformance.txt" "$out/conformance.raw"
./test2json -t -p device/cuda <"$out/conformance.raw" >"$out/conformance.json"
tr -d '\026' <"$out/conformance.raw" >"$out/conformance.txt"
rm "$out/conformance.raw"

# Throughput, each with a verification: the bits of three steps on wild numbers.
part throughput 200 ./throughput.sh "$out" "$device" "$time" "${cases[@]}"

# Peers, in turns with gpubench.
if ! command -v python3 >/dev/null; then
  done_with peers skipped 0 "there is no python3"
elif ! python3 -c 'import torch' 2>/dev/null; then
  done_with peers skipped 0 "python3 has no torch"
else
  part peers 100 python3 torch_gpu.py --gpubench ./gpubench-cuda --gpubench-device "$device" --seconds 85 --out "$out/peers.json" "${peers[@]}"
fi

# What only a sanitizer sees. It makes kernels many times slower, so it gets few.
sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null || true)
if [ -z "$sanitizer" ]; then
  done_with sanitizer skipped 0 "there is no compute-sanitizer"
else
  for tool in memcheck racecheck initcheck synccheck; do
    part "sanitizer-$tool" 40 "$sanitizer" --tool "$tool" --error-exitcode 9 \
      ./cuda.test -test.v -test.run '^TestHardware(Steps|Kernels)$/^(norm|optim.Adam.*)$' -test.count 1
  done
fi

{
  printf '{"revision": "%s", "gpu": "%s", "device": "%s", "date": "%s", "ok": %s, "parts": [\n' \
    "$(cat REVISION)" "$model" "$device" "$date" "$([ $failed = 0 ] && echo true || echo false)"
  printf '%s' "${parts[0]}"
  printf ',\n%s' "${parts[@]:1}"
  printf '\n]}\n'
} >"$out/summary.json"
[ $failed = 0 ] && say "All parts that could run did, in $SECONDS s: $out" || say "NOT ALL IS WELL, after $SECONDS s: $out"
exit $failed
