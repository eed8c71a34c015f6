"""Whether a config makes sense: its types, its values, and how they fit together; all problems at once.

Importing this module imports neither JAX nor the rest of the package, so that a typo is told before JAX has loaded.
"""

import math
import re
from typing import Any

from ml_collections import ConfigDict

from semiprune_jax.config import Config, base_config, cutoff_at, selection
from semiprune_jax.errors import ConfigError

# What models.create knows, written again.
_NETWORK = re.compile(r"wrn_(10|16|22|28|34|40)_[1-9]\d*|resnet(8|18_cifar|50_cifar|18|34|50)")

_RESNETS = "resnet8 | resnet18_cifar | resnet50_cifar | resnet18 | resnet34 | resnet50"

# What selection.SELECTORS has, written again: those that go by a score, and those that do not.
_SCORED = ("top", "balanced_top", "double_end", "beta", "stratified", "d2")
_UNSCORED = ("random", "balanced_random", "moderate", "prototypicality", "k_centre", "badge", "zcore")

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


def _split_texts(config: Config) -> None:
    """Makes ("a,b",), which is how a flag spells it, ("a", "b") in the fields that hold names."""
    for section, name in (("data", "classes"), ("select", "names"), ("search", "names")):
        value = config[section] and config[section][name]
        if isinstance(value, tuple) and len(value) == 1 and isinstance(value[0], str):
            config[section][name] = tuple(part.strip() for part in value[0].split(","))


def validate(config: Config) -> None:
    """Raises one ConfigError that lists everything wrong with the values: of their types first, if any is wrong.

    Names that a flag spelled as one text are split before.
    """
    _split_texts(config)
    problems = _wrong_types(config)
    if problems:
        raise ConfigError("\n".join(problems))

    def check(good: bool, field: str, expected: str) -> None:
        if not good:
            value: Any = config
            for part in field.split("."):
                value = value[part]
            problems.append(f"config.{field} = {value!r}: expected {expected}")

    def one_of(field: str, *allowed: str) -> None:
        section, name = field.rsplit(".", 1)
        check(_at(config, section)[name] in allowed, field, " | ".join(allowed))

    def positive(section: str, *names: str) -> None:
        for name in names:
            check(_at(config, section)[name] > 0, f"{section}.{name}", "more than 0")

    def fraction(field: str, *, below_one: bool = True) -> None:
        section, name = field.rsplit(".", 1)
        value = _at(config, section)[name]
        check(0 <= value < 1 if below_one else 0 <= value <= 1, field, f"0 <= x <{'' if below_one else '='} 1")

    data, select = config.data, config.select
    check(config.seed >= 0, "seed", "a whole number, 0 or more")
    one_of("data.source", "digits", "arrays", "folder", "tfds")
    one_of("data.decoder", "pillow", "fast")
    if data.source == "tfds":
        check(bool(data.name), "data.name", "the name of a dataset, for data.source = 'tfds'")
        check(bool(data.split), "data.split", "the split of the pool, for data.source = 'tfds'")
    elif data.source != "digits":
        named = bool(data.path) or (data.source == "folder" and bool(data.labels))
        check(named, "data.path", f"where the data lies, for data.source = {data.source!r}")
    apart = len(set(data.classes)) == len(data.classes) != 1
    check(apart, "data.classes", "two names or more, no two alike, or none")
    check(data.source == "folder" or not data.classes, "data.classes", "none, but for data.source = 'folder'")
    one_of("data.pool", "auto", "memory", "stream")
    one_of("data.crops", "padded", "resized")
    one_of("data.supervised_crops", "original", "cached")
    counted = len(data.expected) == 3 and all(count >= 0 for count in data.expected)
    check(counted or not data.expected, "data.expected", "3 whole numbers (pool, test set, classes), or none")
    check(data.limit_per_class >= 0, "data.limit_per_class", "0 (all) or more")
    positive("data", "image_size")
    if data.crops == "resized":
        check(data.square_size >= data.image_size, "data.square_size", f"data.image_size = {data.image_size} or more")
        check(data.square_size <= 512, "data.square_size", "512 or less: parts are resized in 32-bit whole numbers")
    fraction("data.padding")
    fraction("data.test_fraction")
    fraction("data.corruption", below_one=False)
    check(0 < data.imbalance <= 1, "data.imbalance", "0 < x <= 1")
    check(len(data.mean) == 3, "data.mean", "3 numbers, one a channel")
    check(len(data.std) == 3 and all(s > 0 for s in data.std), "data.std", "3 positive numbers, one a channel")
    budget = config.label.budget
    check(
        0 < budget < 1 or (budget > 1 and budget == int(budget)),
        "label.budget",
        "a fraction below 1, or a count above 1",
    )
    one_of("label.rule", "per_class", "uniform", "given")
    for field in ("fixmatch", "proxy", "retrain"):
        good = _NETWORK.fullmatch(config.model[field]) is not None
        known = f"wrn_<depth>_<width> of depth 10, 16, 22, 28, 34 or 40 | {_RESNETS}"
        check(good, f"model.{field}", known)
    one_of("model.wide_resnet", "usb", "tf")
    one_of("fixmatch.learner", "fixmatch", "flexmatch", "freematch", "softmatch", "pseudo_label")
    one_of("fixmatch.alignment", "none", "uniform", "labelled")

    positive("fixmatch", "steps", "batch_size", "mu", "learning_rate", "eval_every_steps")
    check(config.fixmatch.operations >= 0, "fixmatch.operations", "0 or more")
    check(config.fixmatch.unsupervised_weight >= 0, "fixmatch.unsupervised_weight", "0 or more")
    fraction("fixmatch.threshold", below_one=False)
    for field in ("fixmatch.momentum", "fixmatch.ema_decay", "fixmatch.bn_momentum"):
        fraction(field)
    for section in ("fixmatch", "proxy", "retrain"):
        check(config[section].weight_decay >= 0, f"{section}.weight_decay", "0 or more")
    for section in ("proxy", "retrain"):
        positive(section, "epochs", "batch_size", "learning_rate", "eval_every_epochs")
        check(config[section].final_learning_rate >= 0, f"{section}.final_learning_rate", "0 or more")
        fraction(f"{section}.momentum")
        fraction(f"{section}.bn_momentum")
    epochs = config.proxy.epochs
    smallest = 2 if config.proxy.record_kl else 1  # TDDS looks at what lies between epochs
    check(smallest <= config.score.window <= epochs, "score.window", f"{smallest} .. proxy.epochs = {epochs}")
    check(0 < config.score.decay <= 1, "score.decay", "0 < x <= 1")
    one_of("score.never_learned", "zero", "hardest")
    one_of("embed.source", "proxy", "fixmatch", "file", "weights", "swav")
    one_of("embed.network", *_PRETRAINED)
    positive("embed", "image_size")
    patch = _PRETRAINED.get(config.embed.network, 1)
    check(config.embed.image_size % patch == 0, "embed.image_size", f"a multiple of {patch}, the side of a patch")
    one_of("pseudolabel.source", "fixmatch", "clusters")
    if config.pseudolabel.source == "clusters":
        of_images = config.embed.source in ("file", "weights", "swav")
        check(of_images, "embed.source", "file, weights or swav: pseudolabel.source = 'clusters' needs them beforehand")
    positive("temi", "heads", "neighbours", "epochs", "batch_size", "learning_rate", "beta")
    check(config.temi.warm_up_epochs >= 0, "temi.warm_up_epochs", "0 or more")
    fraction("temi.teacher_decay")
    one_of("temi.select", "last", "min_loss", "oracle")
    if config.temi.select == "oracle":
        check(
            config.data.oracle, "temi.select", "last or min_loss: oracle reads true labels, for which set data.oracle"
        )
    one_of("proxy.examples", "all", "labelled")
    _check_search(config, check)
    _check_swav(config, check, positive)
    check(
        0 <= config.score.first < config.score.last <= epochs,
        "score.last",
        f"score.first < x <= proxy.epochs = {epochs}",
    )

    check(
        len(select.keep) > 0 and all(0 < k <= 1 for k in select.keep), "select.keep", "fractions kept, each in (0, 1]"
    )
    for name, value in select.items():
        fields = set(selection(selector="random"))
        if name not in ("names", "keep") and (not isinstance(value, ConfigDict) or set(value) != fields):
            problems.append(f"config.select.{name}: expected names, keep, or a selection(...) with its fields")
    for name in select.names:
        if name not in select or not isinstance(select[name], ConfigDict):
            known = ", ".join(key for key, value in select.items() if isinstance(value, ConfigDict))
            problems.append(f"config.select.names holds {name!r}: expected some of {known}")
            continue
        _check_selection(config, name, one_of, check)
    seeds = config.retrain.seeds
    check(
        len(seeds) > 0 and all(s >= 0 for s in seeds),
        "retrain.seeds",
        "whole numbers, 0 or more",
    )
    positive("report", "examples")
    positive("score", "exponent")
    one_of("retrain.batch_rule", "paper", "fixed")
    one_of("runtime.parallel", "jit", "pmap")
    one_of("runtime.compute_dtype", "auto", "float32", "bfloat16")
    positive("runtime", "log_every_steps", "join_timeout_seconds", "peer_timeout_seconds")
    check(0 < config.runtime.memory_share <= 1, "runtime.memory_share", "0 < x <= 1")
    check(config.runtime.workers >= -1, "runtime.workers", "-1 (one a core), 0 (threads) or more")
    for name in ("devices", "steps_per_dispatch", "checkpoint_every_steps"):
        check(config.runtime[name] >= 0, f"runtime.{name}", "0 or more")
    if problems:
        raise ConfigError("\n".join(problems))


# One, and several in a tuple.
_KINDS = {
    str: ("text", "names"),
    int: ("a whole number", "whole numbers"),
    float: ("a finite number", "finite numbers"),
    bool: ("True or False", ""),
}
_ELEMENTS = {
    "classes": str,
    "names": str,
    "seeds": int,
    "expected": int,
    "horizons": int,
}  # of tuples; numbers otherwise


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


def _check_swav(config: Config, check, positive) -> None:
    options = config.swav
    known = options.network.startswith("resnet") and _NETWORK.fullmatch(options.network) is not None
    check(known, "swav.network", _RESNETS)
    positive("swav", "epochs", "batch_size", "learning_rate", "temperature", "epsilon", "small_crop_size")
    for name in ("final_learning_rate", "warm_up_epochs", "weight_decay", "frozen_steps", "small_crops"):
        check(options[name] >= 0, f"swav.{name}", "0 or more")
    check(options.prototypes >= 2, "swav.prototypes", "2 or more")
    for name in ("crop_area", "small_crop_area"):
        good = len(options[name]) == 2 and 0 < options[name][0] <= options[name][1] <= 1
        check(good, f"swav.{name}", "two shares of an image, 0 < smallest <= largest <= 1")


def _check_search(config: Config, check) -> None:
    options, epochs = config.search, config.proxy.epochs
    for name in options.names:
        searched = name in config.select.names and config.select[name].selector in ("double_end", "stratified", "beta")
        check(searched, "search.names", "names of select.names whose selector is double_end, stratified or beta")
    check(0 < options.held_out < 1, "search.held_out", "0 < x < 1")
    fits = all(config.score.window <= horizon <= epochs for horizon in options.horizons)
    allowed = f"score.window = {config.score.window} .. proxy.epochs = {epochs}, each"
    check(fits, "search.horizons", allowed)
    check(len(options.c_d) > 0 and all(c_d > 0 for c_d in options.c_d), "search.c_d", "one or more, each more than 0")
    check(
        len(options.seeds) > 0 and all(seed >= 0 for seed in options.seeds), "search.seeds", "whole numbers, 0 or more"
    )


def _check_selection(config: Config, name: str, one_of, check) -> None:
    spec, field, keep = config.select[name], f"select.{name}", config.select.keep
    one_of(f"{field}.selector", *_SCORED, *_UNSCORED)
    one_of(
        f"{field}.score",
        *(
            "aum",
            "dual",
            "forgetting",
            "el2n",
            "correctness",
            "dyn_unc",
            "mean_probability",
            "entropy",
            "tdds",
            "grand",
        ),
    )
    one_of(f"{field}.form", "code", "paper")
    one_of(f"{field}.end", "hard", "easy")
    epochs = config.proxy.epochs
    # Only what the selector uses must fit this run: a base config's unused horizon must not get in the way.
    scored = spec.selector in _SCORED
    if spec.selector == "badge":
        good = config.embed.source in ("fixmatch", "proxy")
        check(good, "embed.source", f"fixmatch or proxy: config.{field} needs predictions too")
    check(spec.neighbours >= 1, f"{field}.neighbours", "1 or more")
    check(spec.samples >= 1, f"{field}.samples", "1 or more")
    check(spec.gamma >= 0, f"{field}.gamma", "0 or more")
    if spec.selector == "beta" or spec.score in ("dual", "mean_probability", "tdds"):
        check(0 <= spec.horizon <= epochs, f"{field}.horizon", f"0 (all) .. proxy.epochs = {epochs}")
        if spec.score in ("dual", "tdds") and spec.horizon:
            check(
                spec.horizon >= config.score.window, f"{field}.horizon", f"score.window = {config.score.window} or more"
            )
    one_of(f"{field}.extrapolate", "none", "neighbours", "graph")
    if scored and config.proxy.examples == "labelled":
        needed = "neighbours or graph: with proxy.examples = 'labelled' other images have no score"
        check(spec.extrapolate != "none", f"{field}.extrapolate", needed)
    if spec.extrapolate != "none":
        check(spec.selector != "beta", f"{field}.extrapolate", "none: beta needs probabilities of all images")
    for score, needed in (("entropy", "record_entropy"), ("tdds", "record_kl"), ("grand", "record_grad_norm")):
        if spec.score == score and scored:
            check(config.proxy[needed], f"proxy.{needed}", f"True, since config.{field} selects by {score}")
    if spec.selector in ("double_end", "stratified", "d2"):
        fits = len(spec.cutoff) in (1, len(keep))
        check(fits, f"{field}.cutoff", f"1 cutoff, or {len(keep)}, one for each of select.keep = {tuple(keep)}")
        for k in keep if fits else ():
            cutoff = cutoff_at(spec, keep, k)
            good = not 0 < k <= 1 or (cutoff >= 0 and cutoff + k <= 1 + 1e-9)  # a wrong keep is told already
            check(good, f"{field}.cutoff", f"0 .. {1 - k:.4g} at keep = {k:g}, so that cutoff + keep <= 1")
    if spec.selector == "beta":
        check(spec.score != "aum", f"{field}.score", "a score that is never negative, such as dual: beta weighs by it")
        check(spec.c_d > 0, f"{field}.c_d", "more than 0")
        check(spec.concentration > 0, f"{field}.concentration", "more than 0")
    check(spec.strata >= 1, f"{field}.strata", "1 or more")


def _at(config: Config, dotted: str) -> Config:
    for part in dotted.split("."):
        config = config[part]
    return config
