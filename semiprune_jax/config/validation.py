"""Validation of a config: the types of its values, the values themselves, and how they fit together.

Importing this module does not import JAX, so that a typo is reported before JAX has loaded.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from semiprune_jax.config.schema import SECTIONS, SEED, Config, selection_section
from semiprune_jax.data.sources import SOURCES
from semiprune_jax.errors import ConfigError
from semiprune_jax.field import Field, is_open
from semiprune_jax.models.networks import PRETRAINED
from semiprune_jax.select.scores import SCORES
from semiprune_jax.select.selectors import SELECTORS, used_fields

# Messages of absl, ml_collections and Python about a config that cannot be read: pattern -> our one line.
_EXPLAINED = {
    r'Did you mean "(\w+)" instead of "(\w+)"': r"the config has no field '\2'; did you mean '\1'?",
    r"""^["']+(\w+)["']+$""": r"the config has no field '\1'",
    r'Key "(\w+)" does not exist': r"the config has no field '\1'",
    r"field '(\w+)' \(reference\)\. (.*) is of original type <class '(\w+)'>.* to type <class '(\w+)'>": (
        r"config field '\1' = \2 is of type \3; expected \4"
    ),
    r"flag (--[^=]+=.*): \('Non-boolean.*": r"\1: expected True or False",
    r"flag (--[^=]+=.*): invalid literal for int.*": r"\1: expected a whole number",
    r"flag (--[^=]+=.*): could not convert string to float.*": r"\1: expected a number",
    r"Attempted \[[\w ]+\]: (.*?) \[Errno \d+\] (.*?)(: '.*'|$)": r"--config=\1: \2",
    r"ValueError: (no variant .*?none)": r"--config: \1",
    r"Path to config file is an empty string": "--config is empty; name a file",
    r"module '\w+' has no attribute 'get_config'": "the file that --config names has no get_config()",
}


def explain(error: Exception) -> str:
    """One line that explains an error in reading the flags and the config."""
    text = " ".join(str(error).replace("\\n", " ").split())
    for pattern, plain in _EXPLAINED.items():
        if match := re.search(pattern, text):
            return match.expand(plain)
    # ml_collections puts a traceback into its message.
    text = str(error).strip().splitlines()[-1] if "Traceback" in text else text
    return text if "flag" in text else f"{type(error).__name__}: {text}"


def validate(config: Config) -> None:
    """Checks everything, and splits names that a flag spelled as one text.

    Raises:
      ConfigError: one line for each wrong value. If any value is of a wrong type, the lines are about types only;
        otherwise fields that break their own rule come first, and fields that do not fit others follow.
    """
    _split_texts(config)
    if problems := list(_wrong_types(config)):
        raise ConfigError("\n".join(problems))
    found = _Problems(config)
    _check_rules(config, found)
    _check_data(config, found)
    _check_embeddings(config, found)
    _check_scores(config, found)
    _check_selections(config, found)
    _check_search(config, found)
    if found.lines:
        raise ConfigError("\n".join(found.lines))


def _split_texts(config: Config) -> None:
    """In fields that hold names, turns ("a,b",), as a flag gives it, into ("a", "b"), and ("",) into ()."""
    for section, fields in ((name, section.fields) for name, section in SECTIONS.items()):
        texts = [name for name, field in fields.items() if isinstance(field.default, tuple) and field.element is str]
        for name in texts if isinstance(config[section], ConfigDict) else ():
            value = config[section][name]
            if isinstance(value, tuple) and len(value) == 1 and isinstance(value[0], str):
                parts = [part.strip() for part in value[0].split(",")]
                config[section][name] = tuple(part for part in parts if part)


def _wrong_types(config: Config) -> Iterator[str]:
    """One line per field whose value differs in type from its default; ml_collections lets None and any tuple pass."""
    yield from _misfits("config", config, {"seed": SEED})
    for name, section in SECTIONS.items():
        if not isinstance(config[name], ConfigDict):
            yield f"config.{name} = {config[name]!r}: expected a section"
            continue
        yield from _misfits(f"config.{name}", config[name], section.fields)
    if isinstance(config.select, ConfigDict):
        for name, spec in config.select.items():
            if _is_selection(spec):  # others are reported below
                yield from _misfits(f"config.select.{name}", spec, selection_section().fields)


def _misfits(place: str, values: Config, fields: Mapping[str, Field]) -> Iterator[str]:
    for name, field in fields.items():
        if expected := field.type_expected(values[name]):
            yield f"{place}.{name} = {values[name]!r}: expected {expected}"


def _is_selection(value: Any) -> bool:
    return isinstance(value, ConfigDict) and set(value) == set(selection_section().fields)


class _Problems:
    """The problems of a config, one line each. Fields are dotted names."""

    def __init__(self, config: Config):
        self.config = config
        self.lines: list[str] = []

    def check(self, good: bool, field: str, expected: str) -> None:
        """Unless the field is good, adds a line with its value and the expected ones."""
        if not good:
            value: Any = self.config
            for part in field.split("."):
                value = value[part]
            self.lines.append(f"config.{field} = {value!r}: expected {expected}")


def _check_rules(config: Config, found: _Problems) -> None:
    """Checks each field against its own rule."""
    found.check(SEED.rule.holds(config.seed), "seed", SEED.rule.expected)
    for name, section in SECTIONS.items():
        for key, field in section.fields.items():
            found.check(field.rule.holds(config[name][key]), f"{name}.{key}", field.rule.expected)


def _check_data(config: Config, found: _Problems) -> None:
    data, check = config.data, found.check
    for name, expected in SOURCES[data.source].problems(data) if data.source in SOURCES else ():
        check(False, f"data.{name}", expected)
    if data.crops == "resized":
        check(data.square_size >= data.image_size, "data.square_size", f"data.image_size = {data.image_size} or more")
        check(data.square_size <= 512, "data.square_size", "512 or less: parts are resized in 32-bit whole numbers")


def _check_embeddings(config: Config, found: _Problems) -> None:
    options = config.embed
    if config.pseudolabel.source == "clusters":
        beforehand = options.source in ("file", "weights", "swav")
        needed = "file, weights or swav: pseudolabel.source = 'clusters' needs them beforehand"
        found.check(beforehand, "embed.source", needed)
    known = config.temi.select != "oracle" or config.data.oracle
    found.check(known, "temi.select", "last or min_loss: oracle reads true labels, for which set data.oracle")
    patch = PRETRAINED[options.network].multiple if options.network in PRETRAINED else 1
    found.check(options.image_size % patch == 0, "embed.image_size", f"a multiple of {patch}, the side of a patch")


def _check_scores(config: Config, found: _Problems) -> None:
    options, epochs = config.score, config.proxy.epochs
    smallest = 2 if config.proxy.record_kl else 1  # TDDS looks at the differences between epochs
    found.check(smallest <= options.window <= epochs, "score.window", f"{smallest} .. proxy.epochs = {epochs}")
    good = options.first < options.last <= epochs
    found.check(good, "score.last", f"score.first < x <= proxy.epochs = {epochs}")


def _check_selections(config: Config, found: _Problems) -> None:
    select = config.select
    for name, value in select.items():
        if name not in SECTIONS["select"].fields and not _is_selection(value):
            known = ", ".join(SECTIONS["select"].fields)
            found.lines.append(f"config.select.{name}: expected {known}, or a selection(...) with its fields")
    for name in select.names:
        if name in select and isinstance(select[name], ConfigDict):
            _check_selection(config, found, name)
        else:
            known = ", ".join(key for key, value in select.items() if isinstance(value, ConfigDict))
            found.lines.append(f"config.select.names holds {name!r}: expected some of {known}")


def _check_selection(config: Config, found: _Problems, name: str) -> None:
    spec = config.select[name]
    if not _is_selection(spec):
        return  # it has been reported
    for key, field in selection_section().fields.items():
        found.check(field.rule.holds(spec[key]), f"select.{name}.{key}", field.rule.expected)
    if spec.selector in SELECTORS and spec.score in SCORES:
        _check_scored(config, found, name)
        for key, expected in SELECTORS[spec.selector].problems(spec, config.select.keep):
            found.check(False, f"select.{name}.{key}", expected)
        search = SELECTORS[spec.selector].search
        searched = [sweep.field for sweep in search.sweeps] if search else []
        for key in sorted(used_fields(spec) & set(spec)):
            if is_open(spec[key]) and key not in searched:
                found.check(
                    False, f"select.{name}.{key}", f"a value: there are no trials that choose it for {spec.selector}"
                )


def _check_scored(config: Config, found: _Problems, name: str) -> None:
    """Only the fields that the selector uses must fit this run; the unused horizon of a base config may be anything."""
    spec, field, check = config.select[name], f"select.{name}", found.check
    read, epochs, window = SCORES[spec.score], config.proxy.epochs, config.score.window
    taken = SELECTORS[spec.selector].reads
    if "probabilities" in taken:
        good = config.embed.source in ("fixmatch", "proxy")
        check(good, "embed.source", f"fixmatch or proxy: config.{field} needs predictions too")
    if "mean_probability" in taken or "horizon" in read.options:
        fits = is_open(spec.horizon) or 0 <= spec.horizon <= epochs
        check(fits, f"{field}.horizon", f"0 (all) .. proxy.epochs = {epochs}, or -1")
        if {"horizon", "window"} <= set(read.options) and spec.horizon > 0:
            check(spec.horizon >= window, f"{field}.horizon", f"score.window = {window} or more")
    if "score" in taken and config.proxy.examples == "labelled":
        needed = "neighbours or graph: with proxy.examples = 'labelled' other images have no score"
        check(spec.extrapolate != "none", f"{field}.extrapolate", needed)
    if spec.extrapolate != "none":
        needed = f"none: {spec.selector} needs probabilities of all images"
        check("mean_probability" not in taken, f"{field}.extrapolate", needed)
    for record in [f"record_{array}" for array in read.fields] if "score" in taken else ():
        if record in config.proxy:  # others are always recorded
            check(config.proxy[record], f"proxy.{record}", f"True, since config.{field} selects by {spec.score}")


def _check_search(config: Config, found: _Problems) -> None:
    options, epochs, window = config.search, config.proxy.epochs, config.score.window
    fits = all(window <= horizon <= epochs for horizon in options.horizons)
    found.check(fits, "search.horizons", f"score.window = {window} .. proxy.epochs = {epochs}, each")
