#!/usr/bin/env bash
# Runs every fuzz target for a while, from its corpus, in parallel on the CPUs there are. A finding fails the run.
# Usage: tools/fuzz.sh SECONDS-EACH
set -euo pipefail

seconds=${1:?usage: tools/fuzz.sh SECONDS}
work=build/fuzz/work
mkdir -p "$work"
if [ -w /dev/shm ]; then
  export TMPDIR=/dev/shm  # of targets that write files: a disk would be most of their time
fi
targets=(build/fuzz/*_fuzz)
run_one() {
  target=$1
  name=$(basename "$target" _fuzz)
  mkdir -p "$3/$name"
  if "$target" -max_total_time="$2" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
      -artifact_prefix="$3/$name-" "$3/$name" "fuzz/$name" >"$3/$name.log" 2>&1; then
    echo "fuzz $name: $(grep -o 'stat::number_of_executed_units: *[0-9]*' "$3/$name.log" | grep -o '[0-9]*$') inputs in $2 s, no finding"
  else
    echo "fuzz $name: FINDING, see $3/$name.log" >&2
    tail -n 30 "$3/$name.log" >&2
    return 1
  fi
}
export -f run_one
printf '%s\n' "${targets[@]}" | xargs -P "$(nproc)" -I{} bash -c 'run_one "$@"' _ {} "$seconds" "$work"
