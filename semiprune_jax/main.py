"""Command line: flags, configuration, exit codes; then ``pipeline.run``. See USAGE."""

import io
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

from absl import flags
from ml_collections import config_flags

from semiprune_jax import __version__
from semiprune_jax.config import aliases, environment, help, packaged
from semiprune_jax.config.schema import Config
from semiprune_jax.config.validation import explain, validate
from semiprune_jax.distributed import preemption, processes
from semiprune_jax.errors import ConfigError, DeviceError, in_words
from semiprune_jax.stages import ORDER
from semiprune_jax.workdir import directory

VERBS = {
    "run": "(default) runs all stages; the same command again goes on where the last one ended",
    "report": "makes the report again from the files of the work directory",
    "plan": "estimates a run's costs: steps, FLOPs, memory, disk, decoding; needs no accelerator",
    "doctor": "checks whether a run would work here, and names the remedy if not",
}

USAGE = "usage: semiprune [VERB] --config=CONFIG --workdir=DIR [--config.SECTION.SETTING=VALUE ...]"
_CONFIGS = (
    "CONFIG is a Python file with get_config(), or the name of a packaged config: {}. A variant follows a colon: "
    "digits:smoke."
)
_MORE = (
    "--help lists all flags and settings, --help=ssl the settings of one section; --version prints the version. "
    "`python -m semiprune_jax.main` runs the same program."
)

_CONFIG = config_flags.DEFINE_config_file("config", None, "The configuration: a file, or the name of a packaged one.")
_WORKDIR = flags.DEFINE_string("workdir", None, "The directory of this run; each run needs its own.")
_UNTIL = flags.DEFINE_enum("until", ORDER[-1], ORDER, "Last stage to run.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Start afresh: remove the files of an earlier run from --workdir.")
_COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "Several processes: HOST:PORT of process 0; auto: ask JAX; none: this process alone. By default, SLURM, Open MPI, "
    "a TPU pod or JAX_COORDINATOR_ADDRESS decides.",
)
_PROCESSES = flags.DEFINE_integer("num_processes", None, "Several processes: their number, if no launcher sets it.", 1)
_PROCESS = flags.DEFINE_integer("process_id", None, "Several processes: which one this is, from 0.", 0)
_RATE = flags.DEFINE_float("images_per_second", 0.0, "plan: images trained per second; 0: estimate no hours.", 0.0)
_FLAGS = (_CONFIG, _WORKDIR, _UNTIL, _OVERWRITE, _COORDINATOR, _PROCESSES, _PROCESS, _RATE)


def cli() -> NoReturn:
    """The program ``semiprune``: runs the command of ``sys.argv`` and ends with its exit code."""
    code = main(sys.argv)
    preemption.ignore_sigterm()
    sys.exit(code)


def main(argv: list[str]) -> int:
    """Runs a command; returns its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Lines appear at once in a file or a pipe, too; letters that a terminal lacks are escaped.
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
    if len(argv) < 2:
        print(_usage(), file=sys.stderr)
        return ConfigError.exit_code
    if (answer := _answer(argv)) is not None:
        _print(answer)
        return 0
    verb, config = _parse(argv)
    validate(config)
    environment.prepare(config)
    preemption.install_handler()
    if verb in ("run", "report", "doctor"):
        patience, lost_after = config.runtime.join_timeout_seconds, config.runtime.peer_timeout_seconds
        processes.start(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value, patience, lost_after)
        preemption.install_handler()
    return _run(verb, config, Path(_WORKDIR.value or "."))


def _answer(argv: list[str]) -> str | None:
    """The text that --help and --version print; None without them."""
    for argument in argv[1:]:
        name, _, topic = argument.partition("=")
        if name in ("--help", "-help", "-h"):
            return help.of_topic(topic) if topic else "\n\n".join([_usage(), _flags(), help.of_everything()])
        if argument == "--version":
            return f"semiprune_jax {__version__}"
    return None


def _usage() -> str:
    verbs = [f"  {verb:<8}{text}" for verb, text in VERBS.items()]
    configs = help.paragraph(_CONFIGS.format(", ".join(packaged.names())))
    return "\n".join([USAGE, "", *verbs, "", *configs, "", *help.paragraph(_MORE)])


def _flags() -> str:
    rows = []
    for flag in _FLAGS:
        default = "" if flag.default is None else flag.default
        rows.append((f"--{flag.name}={default}", flags.FLAGS[flag.name].help))
    return "\n".join(["Flags, with their defaults:", "", *help.table(rows)])


def _parse(argv: list[str]) -> tuple[str, Config]:
    """The verb and the config that a command line names."""
    argv = _with_paths(argv)
    try:
        verb = " ".join(flags.FLAGS(argv)[1:]) or "run"
        config = _CONFIG.value and _CONFIG.value.lock()
    except Exception as error:  # a config is a program and may raise anything
        raise ConfigError(f"{explain(error)}; see --help") from None
    if config is None or not (_WORKDIR.value or verb in ("plan", "doctor")):
        raise ConfigError("both --config and --workdir are needed; see --help")
    if verb not in VERBS:
        raise ConfigError(f"unknown command {verb!r}; expected run, report, plan or doctor; see --help")
    for old, new in aliases.former_names(argv).items():
        print(f"note: --config.{old} is named --config.{new} now; the old name is still read", file=sys.stderr)
    return verb, config


def _with_paths(argv: list[str]) -> list[str]:
    """The command line with the names of packaged configs replaced by their paths."""
    found = list(argv)
    for i, argument in enumerate(argv):
        name, equals, value = argument.partition("=")
        if equals and name in ("--config", "-config"):
            found[i] = f"{name}={packaged.find(value)}"
        elif i and argv[i - 1] in ("--config", "-config"):
            found[i] = packaged.find(argument)
    return found


def _run(verb: str, config: Config, workdir: Path) -> int:
    if verb in ("run", "report"):
        directory.open_workdir(workdir, overwrite=_OVERWRITE.value)
    from semiprune_jax import pipeline  # imported late, since it takes seconds to load JAX
    from semiprune_jax.preflight import doctor, plan

    if verb == "run":
        pipeline.run(config, workdir, until=_UNTIL.value, log=_say)
    elif verb == "report":
        pipeline.remake_report(config, workdir, log=_say)
    elif verb == "plan":
        _print(plan.plan(config, _RATE.value))
    return doctor.examine(config, workdir, log=_say) if verb == "doctor" else 0


def _print(text: str) -> None:
    """Prints a long text; a reader that goes away, as in ``--help | head``, ends this program without a word."""
    before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        print(text, flush=True)
    finally:
        signal.signal(signal.SIGPIPE, before)


def _say(line: str) -> None:
    try:
        print(line)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes the rest into it when it exits
        raise DeviceError("nobody reads the output any more; the same command goes on") from None


if __name__ == "__main__":
    cli()
