"""The configs that come with the package: in ``configs/`` of a checkout, or beside the modules of an installation."""

from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

from semiprune_jax.config.schema import Config
from semiprune_jax.errors import ConfigError

_PACKAGE = Path(__file__).parents[1]


def names() -> list[str]:
    """The names of all packaged configs, sorted."""
    return sorted(path.stem for path in _directory().glob("[a-z]*.py"))


def find(argument: str) -> str:
    """The value of ``--config`` with the name of a packaged config replaced by its path.

    Args:
      argument: "FILE", "NAME", or either with ":VARIANT".

    Raises:
      ConfigError: there is neither a file nor a packaged config of that name.
    """
    name, colon, variant = argument.partition(":")
    if not name or Path(name).is_file():
        return argument
    if name in names():
        return f"{_directory() / name}.py{colon}{variant}"
    if name.endswith(".py") or "/" in name:  # a missing file; reading it will say so
        return argument
    known = ", ".join(names())
    raise ConfigError(f"--config={argument}: no such file or packaged config; expected a file or one of {known}")


def load(argument: str) -> Config:
    """The config that ``--config=argument`` names.

    Raises:
      ConfigError: there is no such config, or it has no such variant.
    """
    path, _, variant = find(argument).partition(":")
    if not Path(path).is_file():
        raise ConfigError(f"{path}: no such file")
    loader = SourceFileLoader("semiprune_config", path)
    module = ModuleType(loader.name)
    loader.exec_module(module)
    try:
        return module.get_config(variant) if variant else module.get_config()
    except ValueError as error:
        raise ConfigError(f"{argument}: {error}") from None


def _directory() -> Path:
    installed = _PACKAGE / "configs"
    return installed if installed.is_dir() else _PACKAGE.parent / "configs"
