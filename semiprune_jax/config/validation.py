"""Whether a config makes sense: its types, its values, and how they fit together; all problems at once.

Importing this module does not import JAX, so that a typo is told before it has loaded.
"""

import math
import re
from collections.abc import Iterable
from typing import Any

from ml_collections import ConfigDict

from semiprune_jax.config import schema
from semiprune_jax.config.schema import Config, base_config, cutoff_at
from semiprune_jax.errors import ConfigError
from semiprune_jax.learners import LEARNERS
from semiprune_jax.select.scores import SCORES
from semiprune_jax.select.selectors import SELECTORS, parameters

# What models.create knows, written again: it loads JAX.
_NETWORK = re.compile(r"wrn_(10|16|22|28|34|40)_[1-9]\d*|resnet(8|18_cifar|50_cifar|18|34|50)")

_RESNETS = "resnet8 | resnet18_cifar | resnet50_cifar | resnet18 | resnet34 | resnet50"

# What models.pretrained has, written again: names, and the sides of their patches.
_PRETRAINED = {"vit_s16": 16, "vit_b16": 16, "vit_s14": 14, "vit_b14": 14, "resnet50": 32}

# What absl, ml_collections and Python say of a config that cannot be read, and how it reads in one line.
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
    """One line for what went wrong while flags and config were read."""
    text = " ".join(str(error).replace("\\n", " ").split())
    for pattern, plain in _EXPLAINED.items():
        if match := re.search(pattern, text):
            return match.expand(plain)
    # ml_collections puts a traceback into its message.
    text = str(error).strip().splitlines()[-1] if "Traceback" in text else text
    return text if "flag" in text else f"{type(error).__name__}: {text}"


def validate(config: Config) -> None:
    """Raises one ConfigError that lists everything wrong with the values: of their types first, if any is wrong.

    Names that a flag spelled as one text are split before.
    """
    _split_texts(config)
    if problems := _wrong_types(config):
        raise ConfigError("\n".join(problems))
    found = _Problems(config)
    found.check(config.seed >= 0, "seed", "a whole number, 0 or more")
    _check_data(config, found)
    _check_pseudo_labels(config, found)
    _check_embeddings(config, found)
    _check_supervised(config, found)
    _check_scores(config, found)
    _check_selections(config, found)
    _check_search(config, found)
    _check_runtime(config, found)
    if found.lines:
        raise ConfigError("\n".join(found.lines))


def _split_texts(config: Config) -> None:
    """Makes ("a,b",), which is how a flag spells it, ("a", "b") in the fields that hold names, and ("",) none."""
    for section, name in (("data", "classes"), ("select", "names"), ("search", "names")):
        value = config[section] and config[section][name]
        if isinstance(value, tuple) and len(value) == 1 and isinstance(value[0], str):
            parts = [part.strip() for part in value[0].split(",")]
            config[section][name] = tuple(part for part in parts if part)


class _Problems:
    """What is wrong with a config, a line each. Fields are dotted names."""

    def __init__(self, config: Config):
        self.config = config
        self.lines: list[str] = []

    def check(self, good: bool, field: str, expected: str) -> None:
        """Notes what was expected of a field that is not good."""
        if not good:
            self.lines.append(f"config.{field} = {self._value(field)!r}: expected {expected}")

    def one_of(self, field: str, allowed: Iterable[str]) -> None:
        allowed = tuple(allowed)
        self.check(self._value(field) in allowed, field, " | ".join(allowed))

    def positive(self, section: str, *names: str) -> None:
        for name in names:
            self.check(self._value(f"{section}.{name}") > 0, f"{section}.{name}", "more than 0")

    def not_negative(self, section: str, *names: str) -> None:
        for name in names:
            self.check(self._value(f"{section}.{name}") >= 0, f"{section}.{name}", "0 or more")

    def fractions(self, section: str, *names: str) -> None:
        """Each below 1."""
        for name in names:
            self.check(0 <= self._value(f"{section}.{name}") < 1, f"{section}.{name}", "0 <= x < 1")

    def _value(self, field: str) -> Any:
        value: Any = self.config
        for part in field.split("."):
            value = value[part]
        return value


def _check_data(config: Config, found: _Problems) -> None:
    data, check = config.data, found.check
    found.one_of("data.source", ("digits", "arrays", "folder", "tfds"))
    found.one_of("data.decoder", ("pillow", "fast"))
    found.one_of("data.pool", ("auto", "memory", "stream"))
    found.one_of("data.crops", ("padded", "resized"))
    found.one_of("data.supervised_crops", ("original", "cached"))
    found.positive("data", "image_size")
    found.fractions("data", "padding", "test_fraction")
    if data.source == "tfds":
        check(bool(data.name), "data.name", "the name of a dataset, for data.source = 'tfds'")
        check(bool(data.split), "data.split", "the split of the pool, for data.source = 'tfds'")
    elif data.source != "digits":
        named = bool(data.path) or (data.source == "folder" and bool(data.labels))
        check(named, "data.path", f"where the data lies, for data.source = {data.source!r}")
    apart = len(set(data.classes)) == len(data.classes) != 1
    check(apart, "data.classes", "two names or more, no two alike, or none")
    check(data.source == "folder" or not data.classes, "data.classes", "none, but for data.source = 'folder'")
    counted = len(data.expected) == 3 and all(count >= 0 for count in data.expected)
    check(counted or not data.expected, "data.expected", "3 whole numbers (pool, test set, classes), or none")
    check(data.limit_per_class >= 0, "data.limit_per_class", "0 (all) or more")
    if data.crops == "resized":
        check(data.square_size >= data.image_size, "data.square_size", f"data.image_size = {data.image_size} or more")
        check(data.square_size <= 512, "data.square_size", "512 or less: parts are resized in 32-bit whole numbers")
    check(0 <= data.corruption <= 1, "data.corruption", "0 <= x <= 1")
    check(0 < data.imbalance <= 1, "data.imbalance", "0 < x <= 1")
    check(len(data.mean) == 3, "data.mean", "3 numbers, one a channel")
    check(len(data.std) == 3 and all(s > 0 for s in data.std), "data.std", "3 positive numbers, one a channel")
    budget = config.label.budget
    whole = budget > 1 and budget == int(budget)
    check(0 < budget < 1 or whole, "label.budget", "a fraction below 1, or a count above 1")
    found.one_of("label.rule", ("per_class", "uniform", "given"))


def _check_pseudo_labels(config: Config, found: _Problems) -> None:
    options, temi = config.fixmatch, config.temi
    _check_network(config, found, "fixmatch")
    found.one_of("model.wide_resnet", ("usb", "tf"))
    found.one_of("fixmatch.learner", LEARNERS)
    found.one_of("fixmatch.alignment", ("none", "uniform", "labelled"))
    found.positive("fixmatch", "steps", "batch_size", "mu", "learning_rate", "eval_every_steps")
    found.not_negative("fixmatch", "operations", "unsupervised_weight", "weight_decay")
    found.check(0 <= options.threshold <= 1, "fixmatch.threshold", "0 <= x <= 1")
    found.fractions("fixmatch", "momentum", "ema_decay", "bn_momentum")
    found.one_of("pseudolabel.source", ("fixmatch", "clusters"))
    if config.pseudolabel.source == "clusters":
        beforehand = config.embed.source in ("file", "weights", "swav")
        needed = "file, weights or swav: pseudolabel.source = 'clusters' needs them beforehand"
        found.check(beforehand, "embed.source", needed)
    found.positive("temi", "heads", "neighbours", "epochs", "batch_size", "learning_rate", "beta")
    found.not_negative("temi", "warm_up_epochs")
    found.fractions("temi", "teacher_decay")
    found.one_of("temi.select", ("last", "min_loss", "oracle"))
    known = temi.select != "oracle" or config.data.oracle
    found.check(known, "temi.select", "last or min_loss: oracle reads true labels, for which set data.oracle")


def _check_embeddings(config: Config, found: _Problems) -> None:
    options, swav = config.embed, config.swav
    found.one_of("embed.source", ("proxy", "fixmatch", "file", "weights", "swav"))
    found.one_of("embed.network", _PRETRAINED)
    found.positive("embed", "image_size")
    patch = _PRETRAINED.get(options.network, 1)
    found.check(options.image_size % patch == 0, "embed.image_size", f"a multiple of {patch}, the side of a patch")
    known = swav.network.startswith("resnet") and _NETWORK.fullmatch(swav.network) is not None
    found.check(known, "swav.network", _RESNETS)
    found.positive("swav", "epochs", "batch_size", "learning_rate", "temperature", "epsilon", "small_crop_size")
    found.not_negative("swav", "final_learning_rate", "warm_up_epochs", "weight_decay", "frozen_steps", "small_crops")
    found.check(swav.prototypes >= 2, "swav.prototypes", "2 or more")
    for name in ("crop_area", "small_crop_area"):
        good = len(swav[name]) == 2 and 0 < swav[name][0] <= swav[name][1] <= 1
        found.check(good, f"swav.{name}", "two shares of an image, 0 < smallest <= largest <= 1")


def _check_supervised(config: Config, found: _Problems) -> None:
    for section in ("proxy", "retrain"):
        _check_network(config, found, section)
        found.positive(section, "epochs", "batch_size", "learning_rate", "eval_every_epochs")
        found.not_negative(section, "weight_decay", "final_learning_rate")
        found.fractions(section, "momentum", "bn_momentum")
    found.one_of("proxy.examples", ("all", "labelled"))
    _check_seeds(config, found, "retrain")
    found.one_of("retrain.batch_rule", ("paper", "fixed"))


def _check_network(config: Config, found: _Problems, section: str) -> None:
    known = f"wrn_<depth>_<width> of depth 10, 16, 22, 28, 34 or 40 | {_RESNETS}"
    found.check(_NETWORK.fullmatch(config.model[section]) is not None, f"model.{section}", known)


def _check_seeds(config: Config, found: _Problems, section: str) -> None:
    seeds = config[section].seeds
    found.check(len(seeds) > 0 and all(s >= 0 for s in seeds), f"{section}.seeds", "whole numbers, 0 or more")


def _check_scores(config: Config, found: _Problems) -> None:
    options, epochs = config.score, config.proxy.epochs
    smallest = 2 if config.proxy.record_kl else 1  # TDDS looks at what lies between epochs
    found.check(smallest <= options.window <= epochs, "score.window", f"{smallest} .. proxy.epochs = {epochs}")
    found.check(0 < options.decay <= 1, "score.decay", "0 < x <= 1")
    found.positive("score", "exponent")
    found.one_of("score.never_learned", ("zero", "hardest"))
    good = 0 <= options.first < options.last <= epochs
    found.check(good, "score.last", f"score.first < x <= proxy.epochs = {epochs}")


def _check_selections(config: Config, found: _Problems) -> None:
    select = config.select
    kept = len(select.keep) > 0 and all(0 < k <= 1 for k in select.keep)
    found.check(kept, "select.keep", "fractions kept, each in (0, 1]")
    fields = set(schema.selection(selector="random"))
    for name, value in select.items():
        if name not in ("names", "keep") and (not isinstance(value, ConfigDict) or set(value) != fields):
            found.lines.append(f"config.select.{name}: expected names, keep, or a selection(...) with its fields")
    for name in select.names:
        if name in select and isinstance(select[name], ConfigDict):
            _check_selection(config, found, name)
        else:
            known = ", ".join(key for key, value in select.items() if isinstance(value, ConfigDict))
            found.lines.append(f"config.select.names holds {name!r}: expected some of {known}")


def _check_selection(config: Config, found: _Problems, name: str) -> None:
    spec, field, keep, check = config.select[name], f"select.{name}", config.select.keep, found.check
    found.one_of(f"{field}.selector", SELECTORS)
    found.one_of(f"{field}.score", SCORES)
    found.one_of(f"{field}.form", ("code", "paper"))
    found.one_of(f"{field}.end", ("hard", "easy"))
    found.one_of(f"{field}.extrapolate", ("none", "neighbours", "graph"))
    check(spec.neighbours >= 1, f"{field}.neighbours", "1 or more")
    check(spec.samples >= 1, f"{field}.samples", "1 or more")
    check(spec.strata >= 1, f"{field}.strata", "1 or more")
    found.not_negative(field, "gamma")
    if spec.selector not in SELECTORS:
        return
    # Only what the selector uses must fit this run: a base config's unused horizon must not get in the way.
    taken, epochs, window = parameters(spec.selector), config.proxy.epochs, config.score.window
    scored = "score" in taken
    if "probabilities" in taken:
        good = config.embed.source in ("fixmatch", "proxy")
        check(good, "embed.source", f"fixmatch or proxy: config.{field} needs predictions too")
    if "mean_probability" in taken or spec.score in ("dual", "mean_probability", "tdds"):
        check(0 <= spec.horizon <= epochs, f"{field}.horizon", f"0 (all) .. proxy.epochs = {epochs}")
        if spec.score in ("dual", "tdds") and spec.horizon:
            check(spec.horizon >= window, f"{field}.horizon", f"score.window = {window} or more")
    if scored and config.proxy.examples == "labelled":
        needed = "neighbours or graph: with proxy.examples = 'labelled' other images have no score"
        check(spec.extrapolate != "none", f"{field}.extrapolate", needed)
    if spec.extrapolate != "none":
        check("mean_probability" not in taken, f"{field}.extrapolate", "none: beta needs probabilities of all images")
    for score, needed in (("entropy", "record_entropy"), ("tdds", "record_kl"), ("grand", "record_grad_norm")):
        if spec.score == score and scored:
            check(config.proxy[needed], f"proxy.{needed}", f"True, since config.{field} selects by {score}")
    if "cutoff" in taken:
        fits = len(spec.cutoff) in (1, len(keep))
        check(fits, f"{field}.cutoff", f"1 cutoff, or {len(keep)}, one for each of select.keep = {tuple(keep)}")
        for k in keep if fits else ():
            cutoff = cutoff_at(spec, keep, k)
            good = not 0 < k <= 1 or (cutoff >= 0 and cutoff + k <= 1 + 1e-9)  # a wrong keep is told already
            check(good, f"{field}.cutoff", f"0 .. {1 - k:.4g} at keep = {k:g}, so that cutoff + keep <= 1")
    if "c_d" in taken:
        check(spec.score != "aum", f"{field}.score", "a score that is never negative, such as dual: beta weighs by it")
        found.positive(field, "c_d", "concentration")


def _check_search(config: Config, found: _Problems) -> None:
    options, epochs, window = config.search, config.proxy.epochs, config.score.window
    for name in options.names:
        searched = name in config.select.names and config.select[name].selector in ("double_end", "stratified", "beta")
        found.check(searched, "search.names", "names of select.names whose selector is double_end, stratified or beta")
    found.check(0 < options.held_out < 1, "search.held_out", "0 < x < 1")
    fits = all(window <= horizon <= epochs for horizon in options.horizons)
    found.check(fits, "search.horizons", f"score.window = {window} .. proxy.epochs = {epochs}, each")
    good = len(options.c_d) > 0 and all(c_d > 0 for c_d in options.c_d)
    found.check(good, "search.c_d", "one or more, each more than 0")
    _check_seeds(config, found, "search")


def _check_runtime(config: Config, found: _Problems) -> None:
    runtime = config.runtime
    found.positive("report", "examples")
    found.one_of("runtime.parallel", ("jit", "pmap"))
    found.one_of("runtime.compute_dtype", ("auto", "float32", "bfloat16"))
    found.positive("runtime", "log_every_steps", "join_timeout_seconds", "peer_timeout_seconds")
    found.check(0 < runtime.memory_share <= 1, "runtime.memory_share", "0 < x <= 1")
    found.check(runtime.workers >= -1, "runtime.workers", "-1 (one a core), 0 (threads) or more")
    found.not_negative("runtime", "devices", "steps_per_dispatch", "checkpoint_every_steps")


# One, and several in a tuple.
_KINDS = {
    str: ("text", "names"),
    int: ("a whole number", "whole numbers"),
    float: ("a finite number", "finite numbers"),
    bool: ("True or False", ""),
}
# Of tuples; numbers otherwise.
_ELEMENTS = {"classes": str, "names": str, "seeds": int, "expected": int, "horizons": int}


def _wrong_types(config: Config) -> list[str]:
    """One line a field whose value has another type than its default. ml_collections lets None and any tuple pass."""
    base, problems = base_config(), []

    def is_a(value: Any, kind: type) -> bool:
        if kind is float:
            return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))

    def walk(section: Config, default: Config, prefix: str) -> None:
        for name, value in section.items():
            # A selection of one's own has the fields of any other.
            expected = default.get(name, default.get("random"))
            if isinstance(expected, ConfigDict):
                if isinstance(value, ConfigDict) and (not prefix or set(value) == set(expected)):
                    walk(value, expected, f"{prefix}{name}.")
                elif not prefix:  # validate says what a selection is
                    problems.append(f"config.{name} = {value!r}: expected a section")
            elif isinstance(expected, tuple):
                kind = _ELEMENTS.get(name, float)
                if not (isinstance(value, tuple | list) and all(is_a(element, kind) for element in value)):
                    problems.append(f"config.{prefix}{name} = {value!r}: expected {_KINDS[kind][1]}")
            else:
                kind = float if prefix + name == "label.budget" else type(expected)
                if not is_a(value, kind):
                    problems.append(f"config.{prefix}{name} = {value!r}: expected {_KINDS[kind][0]}")

    walk(config, base, "")
    return problems
