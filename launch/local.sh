#!/usr/bin/env bash
# One machine, all its devices. Runs the command again for as long as it asks for that (exit code 42).
#
#   launch/local.sh --config=configs/digits.py --workdir=runs/digits
set -uo pipefail
while true; do
  python -m semiprune_jax.main "$@"
  code=$?
  [ "$code" -eq 42 ] || exit "$code"
done
