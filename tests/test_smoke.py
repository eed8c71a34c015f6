"""The shipped configs with ``:smoke``, on data of their own layout: every stage, by the same code as a full run."""

import importlib
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from semiprune_jax import pipeline
from semiprune_jax.errors import DataError
from semiprune_jax.workdir import directory as workdir
from semiprune_jax.workdir import formats
from tests import small
from tests.data.test_tfds import write


def get(config_name, variant="smoke", **data):
    config = importlib.import_module(f"configs.{config_name}").get_config(variant)
    config.data.update(data)
    config.select.names = ("semi_aum",)
    return config


def run(config, work, until="report"):
    lines = []
    workdir.open_workdir(work, overwrite=False)
    pipeline.run(config, work, until=until, log=lines.append)
    return lines


def photographs(root, n, *, names=("n00", "n01", "n02"), seed=0):
    """Class folders of JPEGs of any size and aspect."""
    rng = np.random.default_rng(seed)
    images, labels = small.pool(n, size=8, seed=seed)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = root / names[label]
        place.mkdir(parents=True, exist_ok=True)
        size = tuple(int(side) for side in rng.integers(30, 90, 2))
        Image.fromarray(image).resize(size).save(place / f"{names[label]}_{i:04d}.JPEG", quality=90)
    return str(root)


@pytest.mark.long
def test_imagenet_as_tfds_prepares_it(tmp_path):
    """JPEGs of varying size, streamed by worker processes through a cache; a second run does nothing."""
    data = write(tmp_path / "data", {"train": (20, 25), "validation": (12,)})
    config = get("imagenet", path=data, name="tiny", cache=str(tmp_path / "cache"))
    assert config.data.pool == "stream"
    assert config.runtime.workers != 0
    lines = run(config, tmp_path / "w")
    assert [line.split()[0] for line in lines if line[:1].isalpha() and not line.startswith("warning")] == [
        *("label", "pseudolabel", "score", "select/semi_aum", "retrain/semi_aum_keep0.50", "report")
    ]
    coreset = formats.read_table(tmp_path / "w/select/semi_aum_keep0.50/coreset.parquet")
    assert coreset["kept"].sum() == 6
    assert all(key.endswith(".jpg") for key in coreset["key"])
    assert [path.name.split("-")[0] for path in sorted((tmp_path / "cache").glob("*.u8"))] == ["central32", "square36"]
    assert len(list((tmp_path / "cache").glob("records-*.parquet"))) == 2  # notes of labels, for other runs too
    assert (tmp_path / "w/retrain/semi_aum_keep0.50_seed0/result.json").exists()
    assert all("done before" in line for line in run(config, tmp_path / "w", until="retrain"))


@pytest.mark.long
def test_imagenet_as_folders(tmp_path):
    """Runs without a cache, in threads; also with cached crops, and with the pool in memory."""
    train, test = photographs(tmp_path / "train", 45), photographs(tmp_path / "val", 12, seed=1)
    for options in ({}, {"supervised_crops": "cached"}, {"pool": "memory"}):
        config = get("imagenet", source="folder", path=train, test_path=test, **options)
        config.runtime.workers = 0
        name = "-".join(options.values()) or "exact"
        assert "index.html" in run(config, tmp_path / name)[-2]
    # The place of a pool changes no bit of the dynamics.
    one, other = (formats.read_npz(tmp_path / name / "score/dynamics.npz") for name in ("exact", "memory"))
    for field, value in one.items():
        np.testing.assert_array_equal(value, other[field])


@pytest.mark.long
@pytest.mark.parametrize("name", ["tiny_imagenet", "tiny_imagenet_c", "food101", "sun397", "caltech101", "cifar100_lt"])
def test_every_other_layout(tmp_path, name):
    config = get(name, source="folder", path=photographs(tmp_path / "train", 60))
    if not config.data.test_fraction:
        config.data.test_path = photographs(tmp_path / "val", 12, seed=1)
    run(config, tmp_path / "w")
    assert (tmp_path / "w" / "report" / "index.html").exists()


@pytest.mark.long
def test_an_encoder_trained_on_large_images(tmp_path):
    """SwAV crops two sizes from squares of images of any size."""
    paths = {"path": photographs(tmp_path / "train", 60), "test_path": photographs(tmp_path / "val", 12, seed=1)}
    config = get("food101", "elfs_swav,smoke", source="folder", **paths)
    assert config.swav.small_crops == 6
    run(config, tmp_path / "w")
    assert formats.read_npz(tmp_path / "w/embed/embeddings.npz")["features"].shape == (12, 64)
    assert (tmp_path / "w" / "report" / "index.html").exists()


def test_a_jpeg_that_breaks_in_mid_run_ends_it_with_one_line(tmp_path):
    """A worker finds the JPEG, which the sample at the start missed; the line names file and field."""
    root = photographs(tmp_path / "train", 600)
    command = [
        sys.executable,
        "-m",
        "semiprune_jax.main",
        "--config=configs/imagenet.py:smoke",
        f"--workdir={tmp_path / 'w'}",
        "--config.data.source=folder",
        f"--config.data.path={root}",
        "--config.data.test_fraction=0.01",
        "--config.data.limit_per_class=0",
        "--until=pseudolabel",
    ]
    subprocess.run([*command[:-1], "--until=label"], check=True, capture_output=True)
    keys = formats.read_table(tmp_path / "w" / "examples.parquet")["key"]
    from semiprune_jax.randomness import hash_keys

    unsampled = np.argsort(hash_keys(0, "sample", list(keys)), kind="stable")[256:]
    for row in unsampled[::3]:
        path = os.path.join(root, keys[row])
        size = os.path.getsize(path)
        with open(path, "r+b") as file:  # the size, and so the listing, stays the same
            file.write(b"\0" * size)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == DataError.exit_code, done.stderr
    assert "Traceback" not in done.stderr
    message = [line for line in done.stderr.splitlines() if line.startswith("semiprune: ")]
    assert len(message) == 1
    assert f"an image in {root} cannot be decoded: n0" in message[0]
    assert "config.data.skip_bad=True" in message[0]
