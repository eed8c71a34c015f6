import importlib
from functools import reduce
from operator import getitem
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from semiprune_jax import learners
from semiprune_jax.config import schema, validation
from semiprune_jax.errors import ConfigError
from semiprune_jax.models import pretrained
from semiprune_jax.select import selectors

CONFIGS = sorted(p.stem for p in (Path(__file__).parent.parent / "configs").glob("*.py"))


def get(name, variant=""):
    config = importlib.import_module(f"configs.{name}").get_config(variant)
    if config.data.source == "folder":
        config.data.path = "somewhere"
    return config


@pytest.mark.parametrize("variant", ["", "smoke"])
@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_is_valid(name, variant):
    config = get(name, variant)
    validation.validate(config)
    config.select.names = tuple(key for key in config.select if key not in ("names", "keep"))
    config.proxy.record_kl = True  # which one of them asks for
    validation.validate(config)  # any selection there is can be asked for by a flag
    documentation = importlib.import_module(f"configs.{name}").__doc__
    assert f"python -m semiprune_jax.main --config=configs/{name}.py" in documentation
    if name not in ("digits", "folder"):
        assert "Hardware:" in documentation
        assert ("Expected (the paper's tables" in documentation) == (name != "tiny_imagenet")


PAPER = {  # table 7: network, epochs, batch, uratio; pool of the experiment
    "cifar10": ("wrn_28_2", 100, 64, 7, 50_000),
    "cifar100": ("wrn_28_8", 100, 64, 7, 50_000),
    "cifar100_c": ("wrn_28_8", 100, 64, 7, 50_000),
    "cifar100_lt": ("wrn_28_8", 100, 64, 7, 19_573),
    "caltech101": ("resnet50", 100, 64, 1, 6_942),
    "food101": ("resnet50", 50, 64, 1, 75_750),
    "sun397": ("resnet50", 50, 64, 1, 76_128),
    "tiny_imagenet": ("resnet50", 50, 128, 1, 100_000),
    "tiny_imagenet_c": ("resnet50", 50, 128, 1, 100_000),
    "imagenet": ("resnet50", 100, 128, 1, 1_281_167),
}


def test_the_papers_fixmatch():
    assert set(PAPER) == set(CONFIGS) - {"digits", "folder"}
    for name, (network, epochs, batch, mu, n) in PAPER.items():
        config = get(name)
        assert (config.model.fixmatch, config.fixmatch.batch_size, config.fixmatch.mu) == (network, batch, mu), name
        assert config.data.expected[0] == n, name
        assert config.fixmatch.steps == epochs * (n // (batch * mu)), name  # passes over the pool
        assert get(name, "usb").fixmatch.steps == epochs * 1024, name


def test_the_papers_supervised_trainings():
    """Table 8, and the optimizers of the released code."""
    for name in PAPER:
        config = get(name)
        for recipe, network in ((config.proxy, config.model.proxy), (config.retrain, config.model.retrain)):
            small, by_network = name.startswith("cifar"), ("resnet34", 90, 256)
            if small or name in ("caltech101", "food101", "sun397"):
                by_network = ("resnet18_cifar" if small else "resnet18", 200, 128)
            assert (network, recipe.epochs, recipe.batch_size) == by_network, name
            assert (recipe.nesterov, recipe.weight_decay) == ((True, 5e-4) if small else (False, 1e-4)), name
            assert (recipe.learning_rate, recipe.final_learning_rate) == (0.1, 1e-4)


def test_swav_is_its_own_recipe_of_each_kind_of_pool():
    """CIFAR's, and ImageNet's: three thousand prototypes, six small crops, a rate of 4.8 for 4,096 images."""
    for name in CONFIGS:
        swav = get(name, "elfs_swav").swav
        got = (swav.network, swav.prototypes, swav.temperature, swav.crop_area, swav.small_crops)
        if name == "digits" or name == "folder" or name.startswith("cifar"):
            expected = ("resnet8" if name == "digits" else "resnet50_cifar", 30, 0.5, (0.08, 1.0), 0)
        else:
            small = name.startswith("tiny")
            expected = ("resnet50_cifar" if small else "resnet50", 3000, 0.1, (0.14, 1.0), 6)
            assert swav.learning_rate / swav.batch_size == pytest.approx(4.8 / 4096)
            assert swav.final_learning_rate == pytest.approx(swav.learning_rate / 1000)
            assert swav.small_crop_size == (28 if small else 96)
            assert (swav.batch_size, swav.epochs) == ((4096, 800) if name == "imagenet" else (256, 200))
        assert got == expected, name


def test_a_variant_that_is_none():
    for name in CONFIGS:
        with pytest.raises(ValueError, match=r"no variant 'smok' of this config; expected .*smoke"):
            get(name, "smok")
    with pytest.raises(
        ValueError, match=r"no variant 'usb' of this config; expected smoke or a baseline \(random, .*\), after a"
    ):
        get("digits", "usb")


def test_what_selectors_take_can_be_given():
    given = {"n", "keep", "seed", "noise", "tiebreak", "mean_probability", "classes", "clusters"}
    given |= {
        "features",
        "probabilities",
        "easiness",
        *(argument for argument, _ in selectors.SHARED.values()),
    }  # by the pipeline
    taken = {parameter for name in selectors.SELECTORS for parameter in selectors.parameters(name)}
    assert set(schema.selection(selector="top")) >= taken - given


def test_names_that_are_written_again_are_those_there_are():
    for name in learners.LEARNERS:
        validation.validate(change("fixmatch.learner", name))
    assert set(validation._PRETRAINED) == set(pretrained.NAMES)
    assert all(validation._PRETRAINED[name] == vit[0] for name, vit in pretrained.VITS.items())


def test_tdds_needs_two_visits_to_a_window():
    config = change("score.window", 1)
    validation.validate(config)
    config.proxy.record_kl = True
    with pytest.raises(ConfigError, match=r"score\.window = 1: expected 2 \.\. proxy\.epochs"):
        validation.validate(config)


def test_base_config_is_valid():
    validation.validate(schema.base_config())


def change(path, value):
    config = schema.base_config()
    put(config, path, value)
    return config


def put(config, path, value):
    *parts, last = path.split(".")
    reduce(getitem, parts, config)[last] = value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("seed", -1),
        ("data.source", "imagenet"),
        ("data.source", "folder"),  # without data.path
        ("data.image_size", 0),
        ("data.std", (1.0, 0.0, 1.0)),
        ("data.mean", (1.0,)),
        ("data.test_fraction", 1.0),
        ("label.budget", 0.0),
        ("label.budget", 1.0),  # a fraction or a count?
        ("label.budget", 1.5),
        ("report.examples", 0),
        ("score.exponent", -1.0),
        ("retrain.seeds", (0, -1)),
        ("select.semi_dual.score", "aum"),  # beta weighs by it, and it may be negative
        ("label.rule", "best"),
        ("model.fixmatch", "wrn_27_2"),
        ("model.proxy", "resnet19"),
        ("model.wide_resnet", "jax"),
        ("fixmatch.steps", 0),
        ("fixmatch.mu", 0),
        ("fixmatch.threshold", 1.5),
        ("fixmatch.alignment", "ours"),
        ("score.decay", 0.0),
        ("score.never_learned", "infinity"),
        ("fixmatch.ema_decay", 1.0),
        ("proxy.epochs", 0),
        ("retrain.learning_rate", 0.0),
        ("retrain.batch_rule", "half"),
        ("retrain.weight_decay", -1e-4),
        ("proxy.final_learning_rate", -0.1),
        ("data.imbalance", 0.0),
        ("data.corruption", 1.5),
        ("data.classes", ("ant",)),
        ("data.classes", ("ant", "bee")),  # of digits
        # Types, which a file can get wrong where a flag cannot.
        ("seed", None),
        ("data", None),
        ("label.budget", float("nan")),
        ("fixmatch.steps", True),
        ("fixmatch.learning_rate", float("inf")),
        ("select.keep", ("half",)),
        ("select.names", (1,)),
        ("retrain.seeds", (0.5,)),
        ("select.semi_aum.cutoff", (None,)),
        ("retrain.seeds", ()),
        ("score.window", 201),
        ("score.last", 201),
        ("select.keep", (0.5, 1.5)),
        ("select.keep", (0.0,)),
        ("select.keep", ()),
        ("select.names", ("semi_aun",)),
        ("select.names", ("keep",)),
        ("select.semi_aum.cutoff", (0.1, 0.2)),
        ("select.semi_aum.cutoff", (0.4,)),  # with keep = 0.7
        ("select.semi_aum.selector", "double"),
        ("select.semi_aum.score", "entropy"),  # not recorded
        ("select.semi_dual.horizon", 201),
        ("select.semi_dual.horizon", 9),  # under the window
        ("select.semi_dual.form", "both"),
        ("select.semi_dual.c_d", 0.0),
        ("temi.select", "oracle"),  # without data.oracle
        ("runtime.parallel", "pjit"),
        ("runtime.devices", -1),
        ("runtime.compute_dtype", "float16"),
    ],
)
def test_bad_values_name_their_field(path, value):
    with pytest.raises(ConfigError) as error:
        validation.validate(change(path, value))
    section = path if path != "data.source" or value != "folder" else "data.path"
    first = str(error.value).splitlines()[0]  # what follows from it may follow
    assert first.startswith((f"config.{section}", "config.proxy.record_entropy"))
    assert "expected" in first


# Fields that take any text, and numbers that are read under another setting or by another selector only.
PLACES = ("cache", "labels", "name", "path", "split", "test_labels", "test_path", "test_split", "compilation_cache")
ELSEWHERE = ("square_size", "c_d", "concentration", "cutoff", "horizon")


def leaves(section, prefix=""):
    for name, value in section.items():
        if isinstance(value, ConfigDict):
            yield from leaves(value, f"{prefix}{name}.")
        elif not isinstance(value, bool):
            yield prefix + name, value


def nonsense(value):
    """Of the same type, and wrong anywhere."""
    if isinstance(value, tuple):
        return (nonsense(value[0] if value else 0.0),)
    return "nonsense" if isinstance(value, str) else type(value)(-7)


def refusal(config):
    """What validation says, or nothing."""
    try:
        validation.validate(config)
    except ConfigError as error:
        return str(error)
    return ""


def test_no_field_takes_everything():
    config, taken = change("data.source", "digits"), set()
    config.select.names = ("semi_aum", "semi_dual")
    for name in set(config.select) - {"names", "keep", *config.select.names}:
        del config.select[name]
    for path, value in list(leaves(config)):
        put(config, path, nonsense(value))
        if f"config.{path}" not in refusal(config) and path != "score.first":  # which is told of as score.last
            taken.add(path.rpartition(".")[2])
        put(config, path, value)
    assert taken == {*PLACES, *ELSEWHERE, "wandb_project"}


def test_all_problems_come_at_once():
    config = change("seed", -1)
    config.data.image_size = 0
    config.select.names = ("nobody",)
    with pytest.raises(ConfigError) as error:
        validation.validate(config)
    assert len(str(error.value).splitlines()) == 3


def test_names_in_a_flag_are_split_at_commas():
    """ml_collections reads --config.select.names=random,ccs as one name."""
    config = change("select.names", ("random, ccs",))
    validation.validate(config)
    assert config.select.names == ("random", "ccs")
    validation.validate(config)
    assert config.select.names == ("random", "ccs")


def test_unused_selections_do_not_get_in_the_way():
    config = change("proxy.epochs", 12)
    config.select.names = ("random", "semi_aum")  # semi_dual's horizon of 30 does not fit
    validation.validate(config)


def test_misspelled_fields_are_errors():
    config = schema.base_config()
    with pytest.raises(AttributeError, match='Did you mean "steps"'):
        config.fixmatch.step = 7
    with pytest.raises(AttributeError, match='Key "epoch" does not exist'):
        config.retrain.epoch = 7
    with pytest.raises(AttributeError, match='Did you mean "select"'):
        config.selct = 1
    with pytest.raises(AttributeError):
        config.select.semi_aum.cutof = (0.1,)
    config.select.mine = schema.selection(selector="top")  # a selection of one's own
    config.select.names = ("mine",)
    validation.validate(config)
    config.select.kep = (0.1,)
    with pytest.raises(ConfigError, match=r"config\.select\.kep: expected names, keep, or a selection"):
        validation.validate(config)


def test_paper_batch_size():
    sizes = [schema.paper_batch_size(128, keep, "paper") for keep in (1.0, 0.3, 0.2, 0.1, 0.05)]
    assert sizes == [128, 128, 64, 32, 32]
    assert schema.paper_batch_size(128, 0.1, "fixed") == 128
    assert schema.paper_batch_size(2, 0.1, "paper") == 1


def test_cutoffs_by_kept_fraction():
    spec = schema.selection(selector="double_end", cutoff=(0.1, 0.2))
    assert schema.cutoff_at(spec, (0.5, 0.3), 0.3) == 0.2
    assert schema.cutoff_at(schema.selection(selector="double_end", cutoff=(0.1,)), (0.5, 0.3), 0.3) == 0.1


def test_settings_are_plain():
    plain = schema.settings(schema.base_config().data, "path")
    assert plain["mean"] == [0.485, 0.456, 0.406]
    assert "path" not in plain
