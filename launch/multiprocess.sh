#!/usr/bin/env bash
# Runs N processes on this machine, which join over its loopback address, and starts all of them again when they end
# with 42 (preempted).
#
#   launch/multiprocess.sh [--dry-run] N --config=digits --workdir=runs/digits
#
# On a CPU, set the number of devices of each: JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES=2. On GPUs, process I gets GPU I.
set -uo pipefail
# shellcheck source-path=SCRIPTDIR source=children.sh
. "$(dirname "$0")/children.sh"
dry=
if [ "${1:-}" = --dry-run ]; then
  dry=1
  shift
fi
if ! [[ "${1:-}" =~ ^[1-9][0-9]*$ ]]; then
  echo "usage: launch/multiprocess.sh [--dry-run] N --config=FILE --workdir=DIR [...]" >&2
  exit 2
fi
count=$1
shift

stopped=
children=()
forward() {
  stopped=1
  kill "-$1" "${children[@]}" 2>/dev/null
}
trap 'forward TERM' TERM
trap 'forward INT' INT
while true; do
  port=$(python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  children=()
  for ((i = 0; i < count; i++)); do
    command=(python -m semiprune_jax.main "$@" "--coordinator=127.0.0.1:$port" "--num_processes=$count" "--process_id=$i")
    if [ -n "$dry" ]; then
      echo "CUDA_VISIBLE_DEVICES=$i" "${command[@]}"
    else
      CUDA_VISIBLE_DEVICES=$i "${command[@]}" &
      children+=("$!")
    fi
  done
  if [ -n "$dry" ]; then exit; fi
  code=0
  for child in "${children[@]}"; do
    await "$child"
    ended=$?
    # The code of a failure takes precedence over 42.
    if [ "$ended" -ne 0 ] && { [ "$code" -eq 0 ] || [ "$code" -eq 42 ]; }; then code=$ended; fi
  done
  if [ "$code" -ne 42 ] || [ -n "$stopped" ]; then exit "$code"; fi
done
