#!/usr/bin/env bash
# One process on this machine, with all its devices. Runs the command again for as long as it asks for that (exit 42).
#
#   launch/local.sh [--dry-run] --config=configs/digits.py --workdir=runs/digits
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
# What asks this script to stop asks the run: it saves and ends with 42, and is not started again.
trap 'stopped=1; kill -TERM "$child" 2>/dev/null' TERM
trap 'stopped=1; kill -INT "$child" 2>/dev/null' INT
while true; do
  "${command[@]}" "$@" &
  child=$!
  await "$child"
  code=$?
  if [ "$code" -ne 42 ] || [ -n "$stopped" ]; then exit "$code"; fi
done
