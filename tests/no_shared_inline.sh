#!/usr/bin/env bash
# An inline function that an object for newer instructions shares with others could be the copy the linker keeps for every
# CPU. Fails when avx2.cc or avx512.cc has one. Arguments: all objects of engine/kernels.
set -euo pipefail
seen=0
for object in "$@"; do
  case "$object" in
    */avx2.cc.o | */avx512.cc.o)
      seen=$((seen + 1))
      if nm -C "$object" | grep -E '^[0-9a-f]+ [WVu] '; then
        echo "$object shares the functions above; make them always_inline or move them into an anonymous namespace" >&2
        exit 1
      fi
      ;;
  esac
done
[ "$seen" = 2 ] || { echo "found $seen of 2 objects" >&2; exit 1; }
