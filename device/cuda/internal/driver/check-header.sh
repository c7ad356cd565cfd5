#!/usr/bin/env bash
# Holds the tables of package driver against NVIDIA's cuda.h: the value of every constant, the size and the field
# offsets of every type, and the suffix and signature of every exported symbol. The headers come from NVIDIA's packages on PyPI,
# held to their hashes (requirements.txt), into a temporary folder and are removed with it.
#
#   check-header.sh [version of the runtime package ...]
#
# Needs go, a C compiler and python3 with pip. Differences that are meant to be are listed, with their reasons, in
# internal/gen/known.txt; any other difference fails, and so does a listed one that is gone from the versions below.
set -euo pipefail
cd "$(dirname "$0")"
export LC_ALL=C

pinned=(11.7.99 11.8.89 12.0.146 12.9.79 13.0.48 13.5.37)
versions=("${@:-${pinned[@]}}")
known=internal/gen/known.txt
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

go run ./internal/gen -check >"$tmp/check.c"
failed=0
for version in "${versions[@]}"; do
  case $version in
    11.* | 12.*) package=nvidia-cuda-runtime-cu${version%%.*} ;;
    *) package=nvidia-cuda-runtime ;;
  esac
  dir=$tmp/$version
  grep -F "$package==$version " requirements.txt >"$tmp/requirements.txt" ||
    { echo "check-header: requirements.txt has no hash of $package==$version" >&2; exit 1; }
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --platform manylinux2014_x86_64 --dest "$dir" --require-hashes -r "$tmp/requirements.txt"
  python3 -m zipfile -e "$dir"/*.whl "$dir"
  header=$(find "$dir" -name cuda.h)
  [[ -n $header ]] || { echo "check-header: $package $version has no cuda.h" >&2; exit 1; }

  # What the compiler complains about, as `missing NAME` or the text of the assertion. An undeclared name also makes
  # its assertion no integer, which says nothing new.
  compiled=yes
  : >"$tmp/log"
  for mode in -DNAMES -UNAMES; do
    ${CC:-cc} -fsyntax-only -fmax-errors=0 $mode -I"$(dirname "$header")" "$tmp/check.c" >>"$tmp/log" 2>&1 || compiled=
  done
  sed -n 's/.*error: //p' "$tmp/log" | sed -E \
    -e "s/^'(\w+)' undeclared.*/missing \1/" \
    -e 's/^static assertion failed: "(.*)"$/\1/' \
    -e '/^expression in static assertion is not an integer$/d' | sort -u >"$tmp/found"
  [[ $compiled || -s $tmp/found ]] || { echo "check-header: the compiler failed:" >&2; cat "$tmp/log" >&2; exit 1; }

  unexpected=0
  while IFS= read -r difference; do
    listed=
    while IFS= read -r line; do
      globs=${line%% : *} rest=${line#* : }
      for glob in $globs; do
        # shellcheck disable=SC2053 # the right side is a pattern
        [[ $version == $glob && ${rest%% : *} == "$difference" ]] && listed=$line
      done
    done < <(grep -v '^#' "$known")
    if [[ -n $listed ]]; then
      echo "$listed" >>"$tmp/seen"
    else
      echo "check-header: $version: $difference"
      unexpected=$((unexpected + 1))
    fi
  done <"$tmp/found"
  echo "check-header: $version: $(grep -c '^SAME' "$tmp/check.c") facts, $(wc -l <"$tmp/found") differences, $unexpected unexpected"
  ((unexpected == 0)) || failed=1
done

if (($# == 0)) && stale=$(grep -v '^#' "$known" | grep -vxFf <(cat "$tmp/seen" 2>/dev/null)); then
  echo "check-header: listed in $known, but no longer so: $stale"
  failed=1
fi
exit $failed
