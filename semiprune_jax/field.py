"""One setting of a run: its default, what it means, and which values it may have."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple


class Rule(NamedTuple):
    """What a value has to fulfil."""

    expected: str  # in words, as an error message says it: "0 <= x < 1"
    holds: Callable[[Any], bool]


ANY = Rule("", lambda value: True)
POSITIVE = Rule("more than 0", lambda value: value > 0)
NOT_NEGATIVE = Rule("0 or more", lambda value: value >= 0)
AT_LEAST_ONE = Rule("1 or more", lambda value: value >= 1)
FRACTION = Rule("0 <= x < 1", lambda value: 0 <= value < 1)
SHARE = Rule("0 <= x <= 1", lambda value: 0 <= value <= 1)
POSITIVE_SHARE = Rule("0 < x <= 1", lambda value: 0 < value <= 1)


def one_of(names: Iterable[str]) -> Rule:
    """One of these names."""
    allowed = tuple(names)
    return Rule(" | ".join(allowed), lambda value: value in allowed)


class Field(NamedTuple):
    """A setting. The type of a value has to be that of the default."""

    default: Any
    help: str
    rule: Rule = ANY
