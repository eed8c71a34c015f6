# shellcheck shell=bash
# Sourced by the scripts that start processes themselves.

# Waits until a child has ended, and returns its exit code; a trapped signal ends a wait, and not the child.
await() {
  local code
  while true; do
    wait "$1"
    code=$?
    kill -0 "$1" 2>/dev/null || return "$code"
  done
}
