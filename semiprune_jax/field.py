"""A setting of a run: its default, its meaning, and the values that it may have; and sections of them."""

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple


class Rule(NamedTuple):
    """A condition on a value."""

    expected: str  # in words, as an error message says it: "0 <= x < 1"
    holds: Callable[[Any], bool]


class OneOf(NamedTuple):
    """The condition to be one of some names. They are looked up when it is checked: registries may gain names.

    >>> OneOf(["jit", "pmap"]).expected
    'jit | pmap'
    """

    names: Collection[str]

    @property
    def expected(self) -> str:
        """The names, as an error message says them."""
        return " | ".join(self.names)

    def holds(self, value: Any) -> bool:
        """Whether the value is one of them."""
        return value in self.names


def is_open(value: Any) -> bool:
    """Whether a setting has no value yet, so that trials on the pool choose it: a number is then -1, a tuple empty.

    >>> is_open(-1), is_open(()), is_open((0.0,)), is_open(0)
    (True, True, False, False)
    """
    return not len(value) if isinstance(value, tuple | list) else value == -1


ANY = Rule("", lambda value: True)
POSITIVE = Rule("more than 0", lambda value: value > 0)
POSITIVE_OR_OPEN = Rule("more than 0, or -1", lambda value: value > 0 or is_open(value))
SEVERAL_POSITIVE = Rule(
    "one or more, each more than 0", lambda values: len(values) > 0 and all(value > 0 for value in values)
)
NOT_NEGATIVE = Rule("0 or more", lambda value: value >= 0)
AT_LEAST_ONE = Rule("1 or more", lambda value: value >= 1)
FRACTION = Rule("0 <= x < 1", lambda value: 0 <= value < 1)
SHARE = Rule("0 <= x <= 1", lambda value: 0 <= value <= 1)
POSITIVE_SHARE = Rule("0 < x <= 1", lambda value: 0 < value <= 1)


class Field(NamedTuple):
    """A setting. A value must be of the type of the default, and must obey the rule.

    >>> rate = Field(0.1, "Learning rate.", POSITIVE)
    >>> rate.type_expected("fast"), rate.type_expected(2), rate.rule.holds(-1)
    ('a finite number', '', False)
    """

    default: Any
    help: str
    rule: Rule | OneOf = ANY
    element: type = float  # of a tuple's elements

    def type_expected(self, value: Any) -> str:
        """The type that a value should have, in words; "" where it has it.

        A whole number passes for a number, and a list for a tuple; True is not a number.
        """
        if isinstance(self.default, tuple):
            good = isinstance(value, tuple | list) and all(_is_a(element, self.element) for element in value)
            return "" if good else _PLURALS[self.element]
        kind = type(self.default)
        return "" if _is_a(value, kind) else _TYPES[kind]


class Section(NamedTuple):
    """Settings of one subject."""

    title: str  # one sentence
    fields: Mapping[str, Field]

    def defaults(self) -> dict[str, Any]:
        """The default of each field."""
        return {name: field.default for name, field in self.fields.items()}


_TYPES = {str: "text", int: "a whole number", float: "a finite number", bool: "True or False"}
_PLURALS = {str: "names", int: "whole numbers", float: "finite numbers"}


def _is_a(value: Any, kind: type) -> bool:
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    if kind is float:
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, kind)
