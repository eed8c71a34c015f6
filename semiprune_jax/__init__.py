"""SemiPrune in JAX: choose which images of a pool are worth keeping or labelling (arXiv:2605.23198).

    import semiprune_jax as sp

    sp.run("digits:smoke", "runs/digits")  # a packaged config, a config file, or a config object
    sp.scores.aum(margin)  # scores of recorded dynamics
    sp.selection.top(score, keep=0.3)  # ids of the images to keep
    sp.Dynamics  # the record that scores are computed from, on the device

Importing the package is cheap: it loads neither JAX nor numpy before one of these is used.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semiprune_jax.select import scores
    from semiprune_jax.select import selectors as selection
    from semiprune_jax.train.dynamics import Dynamics

__version__ = "0.1.0"
__all__ = ["Dynamics", "__version__", "run", "scores", "selection"]

_LATE = {  # name -> module and its attribute; "": the module itself
    "scores": ("semiprune_jax.select.scores", ""),
    "selection": ("semiprune_jax.select.selectors", ""),
    "Dynamics": ("semiprune_jax.train.dynamics", "Dynamics"),
}


def run(
    config: Any,
    workdir: str | Path,
    *,
    until: str = "report",
    overwrite: bool = False,
    log: Callable[[str], None] = print,
) -> None:
    """Runs the stages of a config up to and including ``until``; the same call resumes a run or finds it done.

    The run uses this process alone; the command line can start runs of several processes.

    Args:
      config: a config object, as ``semiprune_jax.config.base_config()`` makes it, or a string as for ``--config``.
      workdir: the directory of this run; docs/outputs.md lists its files.
      overwrite: whether to remove the files of an earlier run first.
      log: receives one line per stage.

    Raises:
      ConfigError: the config or the work directory is not usable.
      DataError: images, labels, or a file of an earlier stage are not usable.
      TrainingError: a training collapsed or is not finite.
    """
    from semiprune_jax.config import environment, packaged, validation
    from semiprune_jax.workdir import directory

    config = packaged.load(config) if isinstance(config, str) else config
    validation.validate(config)
    environment.prepare(config)
    directory.open_workdir(Path(workdir), overwrite=overwrite)
    from semiprune_jax import pipeline

    pipeline.run(config, Path(workdir), until=until, log=log)


if not TYPE_CHECKING:  # type checkers would accept every attribute

    def __getattr__(name: str) -> Any:
        if name not in _LATE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module, attribute = _LATE[name]
        found = import_module(module)
        return getattr(found, attribute) if attribute else found


def __dir__() -> list[str]:
    return sorted(__all__)
