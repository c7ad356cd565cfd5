#!/usr/bin/env bash
# Builds the library for C, and shows no symbols of it but fs_*: build.sh OUTPUT [FLAG OF GO BUILD]...
# Go's runtime starts where a library is loaded, by a pointer in section .init_array. Here that has a name by which shim.c finds it, and starts it at the first call.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
go=${GO:-go} # a command, perhaps with arguments, as gocuda is
out=$(realpath -m "$1")
shift
mkdir -p "$(dirname "$out")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$here"
linker=${EXTLD:-$($go env CC)} # EXTLD is for an older C library, as the GPU bundle's
CGO_ENABLED=1 $go build -buildmode=c-archive -trimpath -ldflags '-s -w' -o "$work/fusestep.a" "$@" .
cd "$work"
ar x fusestep.a
objcopy --rename-section .init_array=fs_start_go,alloc,load,data,contents go.o
$linker -shared -s -o "$out" ./*.o -Wl,-Bsymbolic -Wl,-z,nodelete -Wl,-z,relro "-Wl,--version-script=$here/exports.map" -pthread -ldl
