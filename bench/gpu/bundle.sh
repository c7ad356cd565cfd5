#!/usr/bin/env bash
# Builds a folder that tests and measures fusestep on a machine with a GPU and NVIDIA's driver, and nothing else: no Go, no
# toolkit, a C library as old as glibc 2.31. See README.md, which goes with it.
#
#   bundle.sh [folder, default bin/gpu-bundle]
#
# The folder must be empty, or not exist, or be a bundle that this script has built: that one is replaced.
#
# Programs that use cgo need the symbol versions of the C library they are linked with. So the last step, the linking, is
# Zig's, which carries the stubs of older ones: it comes from PyPI, held to its hash (requirements.txt), into a temporary folder.
# Needs go, a C compiler with
# binutils, python3 with pip, and the registry.
set -euo pipefail
out=${1:+$(realpath -m "$1")}
cd "$(dirname "$0")/../.."
out=${out:-$(realpath -m bin/gpu-bundle)}
glibc=2.31
marker=.fusestep-gpu-bundle # of a folder that this script has filled, and may empty
if [ -e "$out" ] && [ ! -d "$out" ]; then
  echo "bundle: $out is no folder" >&2
  exit 2
elif [ -d "$out" ] && [ -n "$(ls -A "$out")" ] && [ ! -f "$out/$marker" ]; then
  echo "bundle: $out is neither empty nor a bundle: nothing in it is touched" >&2
  exit 2
fi
case $PWD/ in
  "${out%/}"/*)
    echo "bundle: $out has the source in it" >&2
    exit 2
    ;;
esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m pip download -q --disable-pip-version-check --no-deps --only-binary :all: -d "$work" --require-hashes -r bench/gpu/requirements.txt
python3 -m zipfile -e "$work"/ziglang-*.whl "$work"
zig=$work/ziglang/zig
chmod +x "$zig"
export ZIG_GLOBAL_CACHE_DIR=$work/cache ZIG_LOCAL_CACHE_DIR=$work/cache

if [ -d "$out" ]; then find "$out" -mindepth 1 -delete; fi
mkdir -p "$out"
: >"$out/$marker"
# Zig warns of the library folders of toolkits, which gorgonia.org/cu names and nobody needs.
build() {
  local package=$1 to=$2
  shift 2
  go run ./device/cuda/gocuda "$@" -o "$to" -tags netgo,osusergo -trimpath \
    -ldflags "-s -w -linkmode=external '-extld=$zig cc -target $(uname -m)-linux-gnu.$glibc'" "$package" 2>"$work/log" ||
    { grep -v 'unable to open library directory' "$work/log" >&2; exit 1; }
}
build ./cmd/gpubench "$out/gpubench-cuda" build
build ./device/cuda "$out/cuda.test" test -c
build ./capi/internal/door "$out/capi.test" test -c
GO='go run ../device/cuda/gocuda' EXTLD="$zig cc -target $(uname -m)-linux-gnu.$glibc" capi/build.sh "$out/libfusestep-cuda.so"
CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$out/test2json" cmd/test2json
cp bench/gpu/run.sh bench/gpu/measure.sh bench/gpu/kernels.sh bench/gpu/forms.txt bench/gpu/README.md bench/gpu/capi_torch.py bench/gpu/fusestep_torch.py bench/peers/torch_gpu.py "$out"
mkdir "$out/python" # the package as it is in the wheel, but for the library, which is there already
(cd python && find fusestep -name '*.py' -print0 | xargs -0 cp --parents -t "$out/python")
"$zig" cc -target "$(uname -m)-linux-gnu.$glibc" -O2 -shared -fPIC -s -o "$out/python/fusestep/collect.so" python/collect.c
git describe --always --dirty --abbrev=40 >"$out/REVISION" 2>/dev/null || echo unknown >"$out/REVISION"

for program in gpubench-cuda cuda.test capi.test libfusestep-cuda.so; do
  needs=$(objdump -T "$out/$program" | grep -o 'GLIBC_[0-9.]*' | sed 's/GLIBC_//' | sort -Vu | tail -1)
  if [ "$(printf '%s\n' "$needs" "$glibc" | sort -V | tail -1)" != "$glibc" ]; then
    echo "bundle: $program needs glibc $needs, which is newer than $glibc:" >&2
    objdump -T "$out/$program" | grep "GLIBC_$needs" >&2
    exit 1
  fi
  echo "bundle: $program needs glibc $needs or later"
done
echo "bundle: $out: $(du -sh "$out" | cut -f1); run its run.sh where the GPU is"
