#!/usr/bin/env bash
# Assembles the committed texts, with -all every text there is, with NVIDIA's ptxas for each architecture, and checks that nothing spills to
# memory and that updates of float32 load and store 128 bits at a time. The tools come from PyPI, held to their hashes
# (requirements.txt), into a temporary folder, which is removed. Needs go, python3 with pip, and the registry.
set -euo pipefail
cd "$(dirname "$0")"
version=$(sed -n 's/^nvidia-cuda-nvcc==\([0-9.]*\).*/\1/p' requirements.txt)
architectures="75 80 86 89 90 100 120"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip download -q --no-deps --only-binary :all: -d "$work" --require-hashes -r requirements.txt
for wheel in "$work"/*.whl; do python3 -m zipfile -e "$wheel" "$work/tools"; done
ptxas=$(find "$work/tools" -name ptxas -type f) nvdisasm=$(find "$work/tools" -name nvdisasm -type f)
chmod +x "$ptxas" "$nvdisasm"

mkdir "$work/ptx"
# What is committed, or with -all what is emitted for any options.
if [ "${1:-}" = -all ]; then PTX_DUMP="$work/ptx" go test . -run '^TestDump$' -count=1 >/dev/null; else cp testdata/*.ptx "$work/ptx"; fi
texts=0 entries=0 registers=0 failed=0
complain() { echo "$1" >&2; failed=1; }
for arch in $architectures; do
  for text in "$work"/ptx/*.ptx; do
    name=$(basename "$text" .ptx)
    "$ptxas" -v -arch "sm_$arch" "$text" -o "$work/out.cubin" 2>"$work/log" || { complain "$name sm_$arch: $(head -3 "$work/log")"; continue; }
    texts=$((texts + 1))
    n=$(grep -c 'Compiling entry function' "$work/log")
    entries=$((entries + n))
    clean=$(grep -c '0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads' "$work/log" || true)
    [ "$clean" = "$n" ] || complain "$name sm_$arch: something is spilled or kept on a stack"
    most=$(sed -n 's/.*Used \([0-9]*\) registers.*/\1/p' "$work/log" | sort -n | tail -1)
    [ "$most" -le "$registers" ] || registers=$most
    case $name in
      norm) "$nvdisasm" -c "$work/out.cubin" >"$work/sass"
            for kernel in norm_squares_f32 norm_squares_f64; do
              awk -v k=".text.$kernel:" '/^\.text\./ {on = $1 == k} on' "$work/sass" | grep -qE 'LDG\.E\.(ENL2\.)?128' || complain "$kernel sm_$arch: no 128-bit loads"
            done ;;
      *) "$nvdisasm" -c "$work/out.cubin" >"$work/sass"
         awk '/^\.text\..*_update:/ {on=1} /^\.text\..*_(prologue|traffic):/ {on=0} on' "$work/sass" >"$work/update"
         for op in LDG STG; do grep -qE "$op\.E\.(ENL2\.)?128" "$work/update" || complain "$name sm_$arch: no 128-bit $op in the update"; done ;;
    esac
  done
done
[ "$failed" = 0 ] || exit 1
echo "ptxas $version: $texts texts, $entries kernels for sm_{${architectures// /,}}: nothing spilled, at most $registers registers, 128-bit loads and stores in every update"
