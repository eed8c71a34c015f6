"""One contender in a process of its own: the time of its first round, and the memory that it needs.

``python -m benchmarks.alone SUITE CASE CONTENDER`` prints a line of JSON.
"""

import json
import os
import subprocess
import sys
import time

# JAX allocates device memory only as it needs it, so that it can be counted and shared with PyTorch.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def measure(suite: str, case: str, contender: str, programs: str, **environment: str) -> dict[str, float]:
    """Runs a contender in a fresh process; returns seconds of the start and first round, of a second one, and bytes.

    Args:
      programs: directory in which compiled programs are kept; an empty one for a cold start.
      environment: variables for the process, besides those of this one.
    """
    kept = {"JAX_COMPILATION_CACHE_DIR": programs, "TORCHINDUCTOR_CACHE_DIR": programs}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.alone", suite, case, contender],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | kept | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1"} | environment,
        timeout=1800,
    )
    return json.loads(done.stdout.splitlines()[-1])


def main(suite: str, case: str, contender: str) -> None:
    """Builds the contender, runs it twice, and prints the seconds and bytes that this took."""
    import jax
    import torch

    from benchmarks import cases
    from benchmarks.protocol import peak_memory, resident_memory

    jax.devices()
    torch.zeros(1, device="cuda" if torch.cuda.is_available() else "cpu")
    loaded = resident_memory()
    began = time.perf_counter()
    made = cases.build(suite, case).contenders[contender]()
    seconds = []
    for _ in range(2):
        with made.awake():
            made.run()
        seconds.append(time.perf_counter() - began)
        began = time.perf_counter()
    made.close()
    # The libraries of both sides take this memory before any work is done.
    peaks = peak_memory()
    peaks["peak_memory"] -= loaded
    print(json.dumps({"first_s": seconds[0], "second_s": seconds[1], **peaks}))


if __name__ == "__main__":
    main(*sys.argv[1:])
