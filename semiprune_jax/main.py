"""Command line: flags, configuration, exit codes; then ``pipeline.run``. See USAGE."""

import errno
import os
import sys
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from semiprune_jax import workdir as workdirs
from semiprune_jax.config import STAGES
from semiprune_jax.errors import ConfigError, DeviceError, UserError
from semiprune_jax.validation import explain, split_texts, validate

USAGE = """usage: python -m semiprune_jax.main [run|report] --config=FILE --workdir=DIR [--config.a.b=VALUE ...]
  run      (default) all stages; the same command again goes on where the last one ended
  report   makes the report anew from what the work directory holds
"""

_CONFIG = config_flags.DEFINE_config_file("config", None, "Configuration, a Python file with get_config().")
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of this run; one run, one directory.")
_UNTIL = flags.DEFINE_enum("until", "report", STAGES, "Last stage to run.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Start afresh: removes what an earlier run left in --workdir.")


def main(argv: list[str]) -> int:
    """Runs a command; returns its exit code."""
    try:
        return _command(argv)
    except UserError as error:
        return _end(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _end("interrupted; the same command goes on from the last checkpoint", 130)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO):
            return _end(f"{error}; make room or mend the disk, then run the same command again", DeviceError.exit_code)
        if "RESOURCE_EXHAUSTED" in str(error):
            text = f"device memory: {str(error).splitlines()[0]}; lower the batch size or data.image_size"
            return _end(text, DeviceError.exit_code)
        raise


def _end(message: str, code: int) -> int:
    print(f"semiprune: {message}", file=sys.stderr)
    return code


def _command(argv: list[str]) -> int:
    if {"--help", "-h", "-help"} & set(argv):
        print(USAGE + flags.FLAGS.main_module_help())
        return 0
    try:
        verb = " ".join(flags.FLAGS(argv)[1:]) or "run"
        config = _CONFIG.value and _CONFIG.value.lock()
    except Exception as error:  # a config is a program and may raise anything
        raise ConfigError(f"{explain(error)}; see --help") from None
    if config is None or not _WORKDIR.value:
        raise ConfigError("both --config and --workdir are needed; see --help")
    if verb not in ("run", "report"):
        raise ConfigError(f"unknown command {verb!r}; expected run or report; see --help")
    split_texts(config)
    validate(config)
    if config.runtime.deterministic:  # read by the compiler when it starts
        os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_gpu_deterministic_ops=true"
    workdir = Path(_WORKDIR.value)
    workdirs.open_workdir(workdir, overwrite=_OVERWRITE.value)

    from semiprune_jax import pipeline  # JAX loads here, seconds after --help would have answered

    if verb == "report":
        pipeline.remake_report(config, workdir)
    else:
        pipeline.run(config, workdir, until=_UNTIL.value)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
