"""The plan: its counts by hand, and its costs against published ones, without data or an accelerator."""

import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import cifar100, imagenet
from semiprune_jax import models, pipeline
from semiprune_jax.preflight import plan
from semiprune_jax.stages import costs, score
from semiprune_jax.workdir import directory as workdir
from semiprune_jax.workdir import formats
from tests import small


def numbers(line):
    return [float(text.replace(",", "")) for text in line.split()]


@pytest.mark.parametrize(
    ("network", "side", "classes", "gigaflops", "parameters"),
    [
        ("resnet50", 224, 1000, 8.178, 25_557_032),
        ("resnet34", 224, 1000, 7.328, 21_797_672),
        ("resnet18_cifar", 32, 10, 1.111, 11_173_962),
        ("wrn_28_2", 32, 10, 0.429, 1_467_626),
    ],
)
def test_costs_are_the_networks_own(network, side, classes, gigaflops, parameters):
    """FLOPs by hand include the padding's taps, XLA's do not: a few per cent. Parameters are exact."""
    config = cifar100.get_config()
    config.data.image_size = side
    cost = costs.network_cost(config, network, classes)
    assert 0.85 * gigaflops < cost.flops / 1e9 < 1.02 * gigaflops
    assert cost.parameters == parameters
    assert cost.held > side * side * 64  # the first layer alone


@pytest.mark.parametrize("name", ["resnet8", "wrn_10_1"])
def test_memory_is_about_what_the_compiler_takes(name):
    """The plan is 0.90 and 0.99 of the compiler's, for eight images."""
    config = cifar100.get_config()
    config.runtime.compute_dtype = "float32"
    planned = 8 * costs.network_cost(config, name, 10).held
    network = models.create(name, num_classes=10, bn_momentum=0.9)
    params, stats = jax.eval_shape(lambda key: network.init(key, (32, 32, 3)), jax.random.key(0))
    gradient = jax.grad(lambda params, stats, x: jnp.sum(network.apply(params, stats, x, train=True)[0] ** 2))
    images = jax.ShapeDtypeStruct((8, 32, 32, 3), jnp.float32)
    taken = jax.jit(gradient).lower(params, stats, images).compile().memory_analysis().temp_size_in_bytes
    assert 0.8 * taken < planned < 1.25 * taken, (planned, taken)


def test_counts_by_hand():
    config = imagenet.get_config("published")
    config.runtime.devices = 8
    config.data.cache = "/somewhere"
    text = plan.plan(config, 5000)
    assert re.search(r"pseudolabel +0\.67 images for each one trained", text)  # 256 of 384 views, and the pool once
    rows = {line.split("  ")[0]: numbers(line[26:]) for line in text.splitlines()[3:10]}
    # 128 labelled and 2 x 128 unlabelled views a step; predicted: the pool, and 101 evaluations of 50,000.
    assert rows["pseudolabel"][:3] == [1_000_900, 1_000_900 * 384, 1_281_167 + 101 * 50_000]
    assert rows["score"][:3] == [90 * 5005, 90 * 1_281_167, 9 * 50_000]
    assert rows["retrain keep 0.1 x 3"][:3] == [3 * 90 * 501, 3 * 90 * 128_116, 3 * 9 * 50_000]
    assert rows["score"][4] == pytest.approx((90 * 1_281_167 + 150_000) / 5000 / 3600, abs=0.01)
    assert "1.5 GB  logits in half precision: 230.6 GB, 153.8 times as much" in text  # methods.md's ImageNet row
    assert f"{(1_281_167 * 256**2 * 3 + 50_000 * 224**2 * 3) / 1e9:.1f} GB  on each host, once" in text
    assert "48 images a step, 25.6 M parameters" in text
    assert f"a record of {13 * 1_281_167 * 90 / 8 / 1e6:.1f} MB" in text


def test_what_tdds_remembers_is_planned(tiny_config):
    """50,000 examples take 17 bytes in each of four epochs, and three more floats on the devices."""
    tiny_config.data.expected, tiny_config.proxy.record_kl = (50_000, 24, 3), True
    text = plan.plan(tiny_config)
    assert "a record of 4.0 MB" in text
    assert re.search(r"dynamics +3\.4 MB", text)


def test_a_learner_without_strong_views_sees_fewer_images(tiny_config, tmp_path):
    tiny_config.data.path = small.write_npz(tmp_path / "pool.npz")
    assert re.search(r"pseudolabel +12 +480 ", plan.plan(tiny_config))  # 8 and 2 x 2 x 8 a step
    tiny_config.ssl.learner = "pseudo_label"
    assert re.search(r"pseudolabel +12 +288 ", plan.plan(tiny_config))


def of_baseline(name, **changes):
    """CIFAR-100's plan with small networks, whose costs count quickly."""
    config = cifar100.get_config(name)
    config.update_from_flattened_dict({field.replace("__", "."): value for field, value in changes.items()})
    config.model.ssl = config.model.proxy = config.model.retrain = config.swav.network = "resnet8"
    config.embed.network, config.embed.image_size = "vit_s16", 32
    return plan.plan(config)


def test_baselines_take_what_they_take():
    """ZCore only retrains; Score Extrapolation trains a proxy on the labels; ELFS adds trials of its search."""
    text = of_baseline("zcore")
    assert not re.search(r"^ *(pseudolabel|score)", text, re.MULTILINE)
    assert re.search(r"^embed +0 +0 +50,000 ", text, re.MULTILINE)
    text = of_baseline("extrapolation")
    assert re.search(r"^score +7,200 +900,000 ", text, re.MULTILINE)  # 200 epochs of 36 steps on 4,500
    text = of_baseline("elfs_swav")
    assert re.search(r"^embed +49,000 +50,000,000 ", text, re.MULTILINE)  # 500 epochs of 98 steps, two crops an image
    # At 70% kept, four cutoffs share the cost of one training of 200 epochs of 247 steps on 31,500 of 45,000, and the
    # best two of them that of another one: there are two selections to retrain. Each trial is tested on 5,000.
    assert re.search(r"^search keep 0\.7 x 6 +98,802 +12,600,255 +30,000 ", text, re.MULTILINE)
    text = of_baseline("elfs_swav", search__cost=0.0)
    assert re.search(r"^search keep 0\.7 x 4 +197,600 +25,200,000 +20,000 ", text, re.MULTILINE)


def test_small_crops_are_planned():
    """Crops count by pixels: six of 16 equal one and a half of 32, added to the two large crops."""
    text = of_baseline("elfs_swav", swav__small_crops=6, swav__small_crop_size=16)
    assert re.search(r"^embed +49,000 +87,500,000 ", text, re.MULTILINE)
    assert "1,792 images a step" in text


def test_a_horizon_is_sought_at_the_largest_kept_fraction_alone():
    text = of_baseline("semi_dual", search__horizons=(30, 60, 90), search__c_d=(2.0, 4.0), search__cost=0.0)
    planned = re.findall(r"^search keep (\S+) x (\d+)", text, re.MULTILINE)
    # Three horizons, two values of c_D, and three exponents.
    assert planned == [("0.7", "8"), ("0.5", "5"), ("0.3", "5"), ("0.2", "5"), ("0.1", "5")]


def test_of_a_pool_whose_labels_are_given_all_are_labelled():
    text = of_baseline("supervised", retrain__labelled_only=True, retrain__seeds=(0,))
    assert re.search(r"retrain labelled_only x 1 +78,200 ", text)  # 200 epochs of 391 steps, as the proxy's
    assert not re.search(r"^pseudolabel", text, re.MULTILINE)  # no label is missing


def test_labels_that_are_given_are_counted(tiny_config, tmp_path):
    """FixMatch and the network trained on labels alone have 30 of 64."""
    images, labels = small.pool(64)
    np.savez(tmp_path / "pool.npz", x_train=images, y_train=np.where(np.arange(64) < 30, labels, -1))
    tiny_config.data.path, tiny_config.data.oracle = str(tmp_path / "pool.npz"), False
    tiny_config.label.rule, tiny_config.retrain.labelled_only = "given", True
    text = plan.plan(tiny_config)
    assert re.search(r"^pseudolabel +12 ", text, re.MULTILINE)
    assert re.search(r"^retrain labelled_only x 1 +4 +60 ", text, re.MULTILINE)  # two epochs of 16 and 14


def test_full_and_labelled_only_are_planned():
    config = cifar100.get_config()
    config.retrain.full = config.retrain.labelled_only = True
    config.retrain.seeds = (0, 1)
    text = plan.plan(config)
    assert re.search(r"retrain full x 2 +156,400 ", text)  # 2 x 200 epochs of 391 steps
    assert re.search(r"retrain labelled_only x 2 +62,800 ", text)  # 5,000 in batches of a quarter of 128
    assert re.search(r"judge keep 0\.2 x 6 +188,400 ", text)
    assert re.search(r"retrain keep 0\.2 x 6 +188,400 ", text)
    config.label.budget = 10_200
    assert re.search(r"retrain labelled_only x 2 +64,000 ", plan.plan(config))  # batches of half of 128, as for a fifth


def test_what_is_not_expected_is_counted(tiny_config, tmp_path):
    tiny_config.data.path = small.write_npz(tmp_path / "pool.npz")
    assert "64 images, 24 to test, 3 classes; networks see 8 pixels" in plan.plan(tiny_config)


@pytest.mark.long
def test_steps_are_those_that_are_run(tiny_config, tmp_path):
    """The plan's counts are those in the run's files."""
    tiny_config.data.path = small.write_npz(tmp_path / "pool.npz")
    tiny_config.select.names = ("semi_aum",)
    workdir.open_workdir(tmp_path / "w", overwrite=False)
    pipeline.run(tiny_config, tmp_path / "w", log=lambda line: None)
    text = plan.plan(tiny_config)
    for keep in ("0.50", "0.25"):
        result = formats.read_json(tmp_path / "w" / "retrain" / f"semi_aum_keep{keep}_seed0" / "result.json")
        assert re.search(rf"retrain keep {float(keep):g} x 1 +{result['steps']} ", text)
    record = np.load(tmp_path / "w" / "score" / "dynamics.npz")
    assert sum(value.nbytes for value in record.values()) == score.dynamics_bytes(tiny_config, 64)


def test_the_command_needs_no_accelerator_and_no_data():
    command = [sys.executable, "-m", "semiprune_jax.main", "plan", "--config=configs/cifar10.py"]
    done = subprocess.run(
        [*command, "--images_per_second=1000"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "", "JAX_PLATFORMS": "cuda"},
    )
    assert done.returncode == 0, done.stderr
    assert "h at 1,000/s" in done.stdout
