"""Former names of settings, which config files and flags may still use."""

import re
from collections.abc import Iterable
from typing import Any

from ml_collections import ConfigDict

CURRENT = {"fixmatch": "ssl"}  # former name -> today's name, of a section and of its network in config.model

_FLAG = re.compile(rf"--?config\.(model\.)?({'|'.join(CURRENT)})\b")


class AliasedDict(ConfigDict):
    """A ConfigDict whose fields may also be read and set by their former names.

    Iteration, printing and JSON show today's names only.

    >>> section = AliasedDict({"ssl": 1})
    >>> section.fixmatch = 2
    >>> section.ssl, "fixmatch" in section, list(section)
    (2, True, ['ssl'])
    """

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(_current(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(_current(key), value)

    def __delitem__(self, key: Any) -> None:
        super().__delitem__(_current(key))

    def __contains__(self, key: Any) -> bool:
        return super().__contains__(_current(key))

    def get_type(self, key: Any) -> Any:
        """The type of a field."""
        return super().get_type(_current(key))

    def update(self, *other: Any, **kwargs: Any) -> None:
        """Sets several fields; sections are merged."""
        for fields in (*other, kwargs):
            super().update({_current(key): value for key, value in fields.items()})


def former_names(arguments: Iterable[str]) -> dict[str, str]:
    """Former name -> today's name, for the former names in these flags.

    >>> former_names(["--config.fixmatch.steps=5", "--config.model.fixmatch=resnet8", "--config.seed=1"])
    {'fixmatch': 'ssl', 'model.fixmatch': 'model.ssl'}
    """
    found = [match.groups("") for argument in arguments if (match := _FLAG.match(argument))]
    return {section + name: section + CURRENT[name] for section, name in found}


def _current(key: Any) -> Any:
    if not isinstance(key, str):
        return key
    first, dot, rest = key.partition(".")
    return CURRENT.get(first, first) + dot + rest
