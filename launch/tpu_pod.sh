#!/usr/bin/env bash
# Runs the command on all machines of a TPU pod, which find each other through the TPU's own metadata, and starts it
# again on all of them when they end with 42 (preempted).
#
#   launch/tpu_pod.sh [--dry-run] NAME ZONE --config=imagenet --workdir=/mnt/runs/imagenet
#
# Each machine has this repository in ~/semiprune_jax, installed with '.[tpu]', and reaches the work directory and the
# data under the same path.
set -uo pipefail
dry=
if [ "${1:-}" = --dry-run ]; then
  dry=1
  shift
fi
if [ $# -lt 3 ]; then
  echo "usage: launch/tpu_pod.sh [--dry-run] NAME ZONE --config=FILE --workdir=DIR [...]" >&2
  exit 2
fi
name=$1 zone=$2
shift 2
run="cd ~/semiprune_jax && python3 -m semiprune_jax.main"
for argument in "$@"; do run+=$(printf ' %q' "$argument"); done
# gcloud's own exit code does not show how each machine ended.
command=(gcloud compute tpus tpu-vm ssh "$name" "--zone=$zone" --worker=all --command="$run; echo \"semiprune ended with \$?\"")
if [ -n "$dry" ]; then
  printf '%q ' "${command[@]}"
  echo
  exit
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
while true; do
  "${command[@]}" 2>&1 | tee "$log"
  codes=$(sed -n 's/.*semiprune ended with \([0-9]*\).*/\1/p' "$log" | sort -un)
  case "$codes" in
    0) exit 0 ;;
    42) ;; # all of them were preempted: start again
    "") echo "launch/tpu_pod.sh: no machine said how it ended; see above" >&2 && exit 4 ;;
    *) exit "$(grep -vx -e 0 -e 42 <<<"$codes" | head -1 || echo 42)" ;;
  esac
done
