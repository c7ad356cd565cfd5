#!/usr/bin/env bash
# Builds the library for C, and shows no symbols of it but fs_*: build.sh OUTPUT [FLAG OF GO BUILD]...
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$(realpath -m "$1")
shift
mkdir -p "$(dirname "$out")"
(cd "$here" && CGO_ENABLED=1 "${GO:-go}" build -buildmode=c-shared -trimpath -ldflags "-s -w -extldflags=-Wl,--version-script=$here/exports.map" -o "$out" "$@" .)
rm "${out%.so}.h" # capi/fusestep.h is what C includes
