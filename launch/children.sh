# shellcheck shell=bash
# Sourced by the scripts that start processes themselves.

# Waits until a child has ended, and returns its exit code. A trapped signal interrupts the wait but not the child.
await() {
  local code
  while true; do
    wait "$1"
    code=$?
    kill -0 "$1" 2>/dev/null || return "$code"
  done
}
