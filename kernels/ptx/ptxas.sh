#!/usr/bin/env bash
# Assembles the committed texts with NVIDIA's ptxas for each architecture, and checks that nothing spills to memory, that updates of float32
# and the norm load and store 128 bits at a time, and that each kernel takes the registers and instructions that testdata/registers.txt
# says. The tools come from PyPI, held to their hashes (requirements.txt), into a temporary folder, which is removed. Needs go, python3
# with pip, and the registry.
#
#   ptxas.sh           as above
#   ptxas.sh -all      every text there is, and not those that are committed alone
#   ptxas.sh -write    writes testdata/registers.txt, and checks nothing
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")"
mode=${1:-}
version=$(sed -n 's/^nvidia-cuda-nvcc==\([0-9.]*\).*/\1/p' requirements.txt)
architectures="75 80 86 89 90 100 120"
counted=90 # the architecture of testdata/registers.txt
table=testdata/registers.txt
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip download -q --no-deps --only-binary :all: -d "$work" --require-hashes -r requirements.txt
for wheel in "$work"/*.whl; do python3 -m zipfile -e "$wheel" "$work/tools"; done
ptxas=$(find "$work/tools" -name ptxas -type f) nvdisasm=$(find "$work/tools" -name nvdisasm -type f)
chmod +x "$ptxas" "$nvdisasm"

# count writes a line for each kernel of the committed texts: its name, registers, and instructions but for those that fill up.
count() {
  printf '# Registers and instructions of the kernels whose texts are here, by ptxas %s for sm_%s. make registers writes this file.\n' "$version" "$counted"
  for text in testdata/*.ptx; do
    "$ptxas" -v -arch "sm_$counted" "$text" -o "$work/out.cubin" 2>"$work/log"
    "$nvdisasm" -c "$work/out.cubin" >"$work/sass"
    sed -n "s/.*Compiling entry function '\([^']*\)'.*/\1/p; s/.*Used \([0-9]*\) registers.*/\1/p" "$work/log" | paste - - | sort >"$work/registers"
    awk '/^\.text\./ {name = substr($1, 7, length($1) - 7)} /^ +\/\*[0-9a-f]+\*\// && !/ NOP ;/ {n[name]++} END {for (name in n) print name "\t" n[name]}' \
      "$work/sass" | sort >"$work/instructions"
    join -t "$(printf '\t')" "$work/registers" "$work/instructions"
  done | sort -u | awk -F '\t' '{printf "%-44s %3d %5d\n", $1, $2, $3}'
}
if [ "$mode" = -write ]; then
  count >"$table"
  exit
fi

mkdir "$work/ptx"
if [ "$mode" = -all ]; then PTX_DUMP="$work/ptx" go test . -run '^TestDump$' -count=1 >/dev/null; else cp testdata/*.ptx "$work/ptx"; fi
texts=0 entries=0 registers=0 failed=0
complain() { echo "$1" >&2; failed=1; }
# wide FILE OP... says whether each of the operations has 128 bits somewhere in it.
wide() {
  local file=$1 op
  shift
  for op; do grep -qE "$op\.E\.(ENL2\.)?128" "$file" || return 1; done
}
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
    "$nvdisasm" -c "$work/out.cubin" >"$work/sass"
    case $name in
      norm | norm_tensors)
        for kernel in squares_f32 squares_f64 squares_bf16 squares_f16 sums; do
          awk -v k=".text.${name}_$kernel:" '/^\.text\./ {on = $1 == k} on' "$work/sass" >"$work/kernel"
          wide "$work/kernel" LDG || complain "${name}_$kernel sm_$arch: no 128-bit loads"
        done ;;
      *) awk '/^\.text\..*_update:/ {on=1} /^\.text\..*_(prologue|traffic|tensors|columns|sums|max|lines):/ {on=0} on' "$work/sass" >"$work/kernel"
         wide "$work/kernel" LDG STG || complain "$name sm_$arch: no 128-bit loads or stores in the update" ;;
    esac
  done
done
count >"$work/table"
diff -u "$table" "$work/table" >&2 || complain "$table is not what ptxas says now: look at the difference, then make registers"
[ "$failed" = 0 ] || exit 1
echo "ptxas $version: $texts texts, $entries kernels for sm_{${architectures// /,}}: nothing spilled, at most $registers registers, 128-bit loads and stores in every update, 128-bit loads in the norm"
