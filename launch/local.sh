#!/usr/bin/env bash
# Runs one process on this machine with all its devices, and starts it again each time it ends with 42 (preempted).
#
#   launch/local.sh [--dry-run] --config=digits --workdir=runs/digits
set -uo pipefail
# shellcheck source-path=SCRIPTDIR source=children.sh
. "$(dirname "$0")/children.sh"
command=(python -m semiprune_jax.main)
if [ "${1:-}" = --dry-run ]; then
  shift
  echo "${command[@]}" "$@"
  exit
fi

stopped=
child=
# A signal to stop is passed on to the run, which saves, ends with 42, and is not started again.
trap 'stopped=1; kill -TERM "$child" 2>/dev/null' TERM
trap 'stopped=1; kill -INT "$child" 2>/dev/null' INT
while true; do
  "${command[@]}" "$@" &
  child=$!
  await "$child"
  code=$?
  if [ "$code" -ne 42 ] || [ -n "$stopped" ]; then exit "$code"; fi
done
