"""Command line: flags, configuration, exit codes; then ``pipeline.run``. See USAGE."""

import io
import os
import signal
import sys
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from semiprune_jax.config.schema import STAGES
from semiprune_jax.config.validation import explain, validate
from semiprune_jax.distributed import preemption, processes
from semiprune_jax.errors import ConfigError, DeviceError, in_words
from semiprune_jax.workdir import directory

USAGE = """usage: python -m semiprune_jax.main [VERB] --config=FILE --workdir=DIR [--config.a.b=VALUE ...]
  run      (default) all stages; the same command again goes on where the last one ended
  report   makes the report anew from what the work directory holds
  plan     what a run would take: steps, FLOPs, memory, disk, decoding; without an accelerator or a work directory
  doctor   whether a run would work here, and if not, what to do
"""

_CONFIG = config_flags.DEFINE_config_file("config", None, "Configuration, a Python file with get_config().")
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of this run; one run, one directory.")
_UNTIL = flags.DEFINE_enum("until", "report", STAGES, "Last stage to run.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Start afresh: removes what an earlier run left in --workdir.")
_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "Several processes: HOST:PORT of process 0; auto: as JAX finds it; none: this process alone; "
    "by default as SLURM, Open MPI, a TPU pod or JAX_COORDINATOR_ADDRESS have it.",
)  # fmt: skip
_PROCESSES = flags.DEFINE_integer("num_processes", None, "Several processes: how many, where no launcher says it.", 1)
_PROCESS = flags.DEFINE_integer("process_id", None, "Several processes: which one this is, from 0.", 0)
_RATE = flags.DEFINE_float("images_per_second", 0.0, "plan: images trained a second, to tell hours; 0: none.", 0.0)


def main(argv: list[str]) -> int:
    """Runs a command; returns its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file or a pipe, too, shows a line when it is printed; what a terminal has no letters for is written out.
        sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
    try:
        return _command(argv)
    except (Exception, KeyboardInterrupt) as error:
        message, code = in_words(error)
        processes.fail(message, code)
        if code == 1:  # a bug of ours
            raise
        print(f"semiprune: {message}", file=sys.stderr)
        return code


def _command(argv: list[str]) -> int:
    if {"--help", "-h", "-help"} & set(argv):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # of `--help | head`: it has seen enough
        print(USAGE + flags.FLAGS.main_module_help())
        return 0
    try:
        verb = " ".join(flags.FLAGS(argv)[1:]) or "run"
        config = _CONFIG.value and _CONFIG.value.lock()
    except Exception as error:  # a config is a program and may raise anything
        raise ConfigError(f"{explain(error)}; see --help") from None
    if config is None or not (_WORKDIR.value or verb in ("plan", "doctor")):
        raise ConfigError("both --config and --workdir are needed; see --help")
    if verb not in ("run", "report", "plan", "doctor"):
        raise ConfigError(f"unknown command {verb!r}; expected run, report, plan or doctor; see --help")
    validate(config)
    workdir = Path(_WORKDIR.value or ".")
    if config.runtime.deterministic:  # read by the compiler when it starts
        os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_gpu_deterministic_ops=true"
    preemption.install_handler()
    if verb in ("run", "report", "doctor"):
        patience, lost_after = config.runtime.join_timeout_seconds, config.runtime.peer_timeout_seconds
        processes.start(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value, patience, lost_after)
        preemption.install_handler()
    if verb in ("run", "report"):
        directory.open_workdir(workdir, overwrite=_OVERWRITE.value)
    from semiprune_jax import pipeline  # JAX loads here, seconds after --help would have answered
    from semiprune_jax.preflight import doctor, plan

    if verb == "run":
        pipeline.run(config, workdir, until=_UNTIL.value, log=_say)
    elif verb == "report":
        pipeline.remake_report(config, workdir, log=_say)
    elif verb == "plan":
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        print(plan.plan(config, _RATE.value))
    return doctor.examine(config, workdir, log=_say) if verb == "doctor" else 0


def _say(line: str) -> None:
    try:
        print(line)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # where Python puts what is left at its end
        raise DeviceError("nobody reads the output any more; the same command goes on") from None


if __name__ == "__main__":
    code = main(sys.argv)
    preemption.ignore_sigterm()
    sys.exit(code)
