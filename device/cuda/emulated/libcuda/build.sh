#!/usr/bin/env bash
# Builds the emulated GPU as a libcuda.so.1: build.sh FOLDER. What it is for says main.go.
# Package driver has the driver API's functions by its own names, hidden. Here they get the names by which programs look for them.
set -euo pipefail
out=$(realpath -m "$1")
cd "$(dirname "$0")/../../../.."
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
go=${GO:-go}
$go run ./device/cuda/gocuda build -buildmode=c-archive -trimpath -ldflags '-s -w' -o "$work/emulated.a" ./device/cuda/emulated/libcuda
linker=${EXTLD:-$($go env CC)}
cd "$work"
ar x emulated.a
nm -A ./*.o | awk '$2 == "T" && $3 ~ /^cu[A-Z]/ {print $3, "emulated_" $3}' >rename
for o in *.o; do objcopy --redefine-syms=rename "$o"; done
# The table of names of package driver is in the read-only data of forward.c: cuMemAlloc_v2 is its cuMemAlloc. An ifunc is a function that
# the loader finds elsewhere.
strings -a ./*.o | grep -E '^cu[A-Z][A-Za-z0-9]*(_v[0-9]+)?$' | sort -u >names
awk 'NR == FNR {is[$1] = 1; next} {f = $1; sub(/_v[0-9]+$/, "", f)} is[f] && f != "cuInit" {
  print "void emulated_" f "(void) __attribute__((visibility(\"hidden\"))); static void *at_" $1 "(void) { return emulated_" f "; } void " $1 "(void) __attribute__((ifunc(\"at_" $1 "\")));"
}' rename names >names.c
# Go starts in a thread of its own, for which whoever calls first waits.
echo 'void fusestepReady(void); unsigned emulated_cuInit(unsigned); unsigned cuInit(unsigned flags) { fusestepReady(); return emulated_cuInit(flags); }' >>names.c
echo '{ global: cu[A-Z]*; local: *; };' >exports
$linker -shared -fPIC -s -o "$out/libcuda.so.1" ./*.o names.c -Wl,-soname,libcuda.so.1 -Wl,-Bsymbolic -Wl,-z,nodelete -Wl,--version-script=exports -pthread -ldl
