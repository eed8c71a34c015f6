"""Command line: flags, configuration, exit codes; then ``pipeline.run``.

    python -m semiprune_jax.main [run|report] --config=configs/digits.py --workdir=runs/digits [--config.a.b=v ...]
"""

import json
import os
import sys
import time
from importlib import metadata
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from semiprune_jax import __version__, artifacts
from semiprune_jax.config import validate
from semiprune_jax.errors import ConfigError, UserError

STAGES = ("label", "pseudolabel", "score", "select", "retrain", "report")
USAGE = """usage: python -m semiprune_jax.main [run|report] --config=FILE --workdir=DIR [--config.SECTION.FIELD=VALUE ...]

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
        print(f"semiprune: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("semiprune: interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130


def _command(argv: list[str]) -> int:
    if {"--help", "-h", "-help"} & set(argv):
        print(USAGE + flags.FLAGS.main_module_help())
        return 0
    try:
        verbs = flags.FLAGS(argv)[1:]
        config = _CONFIG.value
        if config is not None:
            config.lock()
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError, SyntaxError, ImportError) as error:
        raise ConfigError(f"{' '.join(str(error).split()) or repr(error)}; see --help") from None
    if config is None or not _WORKDIR.value:
        raise ConfigError("both --config and --workdir are needed; see --help")
    if len(verbs) > 1 or (verbs and verbs[0] not in ("run", "report")):
        raise ConfigError(f"unknown command {' '.join(verbs)!r}; expected run or report")
    validate(config)
    if config.runtime.deterministic:  # read by the compiler when it starts
        os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_gpu_deterministic_ops=true"
    workdir = Path(_WORKDIR.value)
    artifacts.open_workdir(workdir, overwrite=_OVERWRITE.value)
    _write_manifest(workdir, config, argv)

    from semiprune_jax import pipeline  # JAX loads here, seconds after --help would have answered

    if verbs == ["report"]:
        pipeline.Pipeline(config, workdir).report()
    else:
        pipeline.run(config, workdir, until=_UNTIL.value)
    return 0


def _write_manifest(workdir: Path, config, argv: list[str]) -> None:
    """config.json, and one entry a start in manifest.json: what ran, with which versions."""
    path = workdir / "manifest.json"
    starts = artifacts.read_json(path)["starts"] if path.exists() and not _OVERWRITE.value else []
    versions = {name: metadata.version(name) for name in ("jax", "jaxlib", "flax", "optax", "numpy", "pillow")}
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    starts.append({"time": now, "command": argv, "python": sys.version.split()[0], "versions": versions})
    artifacts.write_json(workdir / "config.json", json.loads(config.to_json()))
    artifacts.write_json(path, {"semiprune_jax": __version__, "oracle": config.data.oracle, "starts": starts})


if __name__ == "__main__":
    sys.exit(main(sys.argv))
