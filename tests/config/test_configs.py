"""The configs of the paper's experiments, and the recipes that they share."""

import importlib
from pathlib import Path

import pytest

from semiprune_jax.config import validation
from semiprune_jax.config.selections import NAMED
from semiprune_jax.stages import search

CONFIGS = sorted(p.stem for p in (Path(__file__).parents[2] / "configs").glob("*.py"))


def get(name, variant=""):
    config = importlib.import_module(f"configs.{name}").get_config(variant)
    if config.data.source == "folder":
        config.data.path = "somewhere"
    return config


@pytest.mark.parametrize(
    ("name", "variant"),
    [(n, v) for n in CONFIGS for v in ("", "smoke", "published") if v != "published" or n not in ("digits", "folder")],
)
def test_every_config_is_valid(name, variant):
    config = get(name, variant)
    validation.validate(config)
    config.select.names = tuple(NAMED)
    config.proxy.record_kl = True  # one of them needs it
    validation.validate(config)  # a flag may ask for any selection
    documentation = importlib.import_module(f"configs.{name}").__doc__
    assert f"python -m semiprune_jax.main --config=configs/{name}.py" in documentation
    if name not in ("digits", "folder"):
        assert "Hardware:" in documentation
        assert ("Expected (the paper's tables" in documentation) == (name != "tiny_imagenet")


PAPER = {  # table 7: network, epochs, batch, uratio; and the size of the pool
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
        assert (config.model.ssl, config.ssl.batch_size, config.ssl.mu) == (network, batch, mu), name
        assert config.data.expected[0] == n, name
        passes, usb = epochs * (n // (batch * mu)), epochs * 1024
        assert (get(name, "passes").ssl.steps, get(name, "usb").ssl.steps) == (passes, usb), name
        assert config.ssl.steps == max(passes, usb), name
        assert search.searched_names(config) == ["semi_aum", "semi_dual"], name
        assert search.searched_names(get(name, "published")) == [], name
        assert not config.select.include_labelled


def test_the_papers_supervised_trainings():
    """Settings follow table 8 and the optimizers of the released code."""
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
    """CIFAR has one recipe. ImageNet's has 3,000 prototypes, six small crops, a rate of 4.8 for 4,096 images."""
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
