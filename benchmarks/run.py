"""``python -m benchmarks.run --suite=cpu|gpu [--cases=F1,A1-weak]``: one table, and a JSON line for each contender.

The lines are appended to ``benchmarks/results/SUITE.jsonl``. ``benchmarks/README.md`` describes the measurements.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

# JAX allocates device memory only as it needs it, so that it can be counted and shared with PyTorch.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

_RESULTS = Path(__file__).parent / "results"
_LIBRARIES = ("jax", "jaxlib", "flax", "torch", "numpy", "pillow")


def main(arguments: list[str]) -> int:
    """Runs the cases; returns 1 if one of them failed, or if its proof did."""
    from benchmarks import cases

    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--suite", choices=cases.SUITES, required=True)
    parser.add_argument("--cases", default="", help="names, with commas between them; all of the suite's if not given")
    parser.add_argument("--rounds", type=int, default=7, help="how often each contender is timed")
    parser.add_argument("--times-only", action="store_true", help="leave out memory and first rounds, each alone")
    parser.add_argument("--results", type=Path, default=_RESULTS, help="directory of the JSON lines")
    options = parser.parse_args(arguments)
    known = cases.names(options.suite)
    chosen = options.cases.split(",") if options.cases else known
    if unknown := set(chosen) - set(known):
        parser.error(f"no case {', '.join(sorted(unknown))} in the suite {options.suite}; it has {', '.join(known)}")
    if options.rounds < 1:
        parser.error(f"--rounds={options.rounds}; at least one is needed")
    failed = []
    print(_HEAD)
    with tempfile.TemporaryDirectory(prefix="semiprune-bench-") as programs:
        _keep_programs(programs)
        for name in chosen:
            try:
                lines = _measure(options.suite, name, options.rounds, alone=not options.times_only)
            except Exception:  # the other cases go on
                traceback.print_exc()
                failed.append(name)
                continue
            _append(options.results / f"{options.suite}.jsonl", lines)
            for line in lines:
                print(_row(line), flush=True)
    if failed:
        print(f"failed, see above: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _measure(suite: str, name: str, rounds: int, *, alone: bool) -> list[dict[str, Any]]:
    """Makes the lines of one case: the proof, then memory and first rounds alone, then times in turns."""
    from benchmarks import cases, protocol
    from benchmarks.alone import measure

    case = cases.build(suite, name)
    proof = case.prove()
    apart: dict[str, dict[str, Any]] = {contender: {} for contender in case.contenders}
    if alone and case.alone and suite != "smoke":
        for contender in case.contenders:
            with tempfile.TemporaryDirectory(prefix="semiprune-bench-") as programs:
                cold = measure(suite, name, contender, programs)
                cached = measure(suite, name, contender, programs)
            apart[contender] = cold | {"first_cached_s": cached["first_s"]}
    load = os.getloadavg()[0]
    contenders = {contender: make() for contender, make in case.contenders.items()}
    times = protocol.take_turns(contenders, min(rounds, case.rounds), case.warm_ups)
    ours = times[next(iter(times))].by(case.clock)
    about = {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "case": name,
        "what": case.what,
        "unit": case.unit,
        "n": case.n,
        "dtype": case.dtype,
        "clock": case.clock,
        "rounds": len(ours),
        "versions": _versions(),
        "device": _device(),
        "load": load,
        "proof": proof,
    }
    lines = []
    for contender, spent in times.items():
        seconds, made = spent.by(case.clock), contenders[contender]
        line = about | {"implementation": contender} | protocol.summary(seconds) | apart[contender] | made.facts()
        line["cpu_s"] = float(protocol.summary(spent.by("cpu"))["median_s"])
        if made.images:
            line["images_per_second"] = made.images / line["median_s"]
        if made.flops:
            line["flops_per_second"] = made.flops / line["median_s"]
        lines.append(line | protocol.ratio(seconds, ours))
        made.close()
    return lines


def _keep_programs(directory: str) -> None:
    """Sets a new compilation cache, so that proof and timing share programs and use none of earlier runs."""
    import jax

    jax.config.update("jax_compilation_cache_dir", directory)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def _versions() -> dict[str, str]:
    git = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(git, capture_output=True, text=True, cwd=Path(__file__).parent, check=False).stdout.strip()
    installed = {found.metadata["Name"].lower(): found.version for found in importlib.metadata.distributions()}
    versions = {name: installed[name] for name in _LIBRARIES if name in installed}
    return versions | {"python": platform.python_version(), "commit": commit}


def _device() -> str:
    import jax

    if jax.default_backend() != "cpu":
        return f"{len(jax.devices())} x {jax.devices()[0].device_kind}"
    about = _cpu_info()
    named = about.get("model name") or platform.processor() or platform.machine()
    # The name hides the processor's generation; the width of its vectors matters most.
    vectors = next((kind for kind in ("avx512f", "avx2") if kind in about.get("flags", "").split()), "")
    return ", ".join(part for part in (f"{os.cpu_count()} cores", named, vectors) if part)


def _cpu_info() -> dict[str, str]:
    """The kernel's information on the first core."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().partition("\n\n")[0].splitlines() if path.exists() else []
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _append(path: Path, lines: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


_HEAD = (
    f"{'case':<16}{'implementation':<32}{'median':>11}{'minimum':>11}{'spread':>10}{'images/s':>11}{'GFLOP/s':>9}"
    f"{'memory':>9}{'stored':>9}{'first':>8}{'cached':>8}   theirs / ours"
)


def _row(line: dict[str, Any]) -> str:
    def value(key: str, scale: float, text: str) -> str:
        return format(line[key] / scale, text) if key in line else ""

    memory = "peak_device_memory" if "peak_device_memory" in line else "peak_memory"
    first = line["ratio_low"] == line["ratio_high"] == 1.0
    ratio = "1" if first else f"{line['ratio']:.3g} ({line['ratio_low']:.3g} to {line['ratio_high']:.3g})"
    columns = [
        f"{line['case']:<16}{line['implementation']:<32}",
        *(f"{_seconds(line[key]):>{width}}" for key, width in (("median_s", 11), ("minimum_s", 11), ("spread_s", 10))),
        f"{value('images_per_second', 1, ',.0f'):>11}{value('flops_per_second', 1e9, ',.0f'):>9}",
        f"{value(memory, 1e6, ',.0f'):>9}{value('stored_bytes', 1e6, ',.1f'):>9}",
        f"{value('first_s', 1, ',.1f'):>8}{value('first_cached_s', 1, ',.1f'):>8}   {ratio}",
    ]
    return "".join(columns)


def _seconds(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:,.2f} s"
    return f"{seconds * 1e3:,.2f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:,.1f} us"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
