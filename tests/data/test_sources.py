"""The registry of sources, and the changes that the data section makes to any of them."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from semiprune_jax.config.schema import base_config
from semiprune_jax.data.sources import SOURCES
from semiprune_jax.errors import ConfigError, DataError
from tests import small


def test_the_registry_loads_no_jax():
    """Config validation reads the registry, and must answer before JAX loads."""
    heavy = {"jax", "flax", "sklearn", "etils", "pyarrow", "tensorflow_datasets"}
    code = f"import sys, semiprune_jax.data.sources; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"source": "digits"}, []),
        ({"source": "arrays"}, [("path", "where the data lies, for data.source = 'arrays'")]),
        ({"source": "arrays", "path": "a.npz"}, []),
        ({"source": "folder"}, [("path", "where the data lies, for data.source = 'folder'")]),
        ({"source": "folder", "labels": "t.csv", "classes": ("a", "b")}, []),
        ({"source": "tfds"}, [("name", "the name of a dataset, for data.source = 'tfds'")]),
        (
            {"source": "tfds", "split": "", "classes": ("a", "b")},
            [
                ("name", "the name of a dataset, for data.source = 'tfds'"),
                ("split", "the split of the pool, for data.source = 'tfds'"),
                ("classes", "none, but for data.source = 'folder'"),
            ],
        ),
        ({"source": "digits", "classes": ("a", "b")}, [("classes", "none, but for data.source = 'folder'")]),
    ],
)
def test_problems_of_a_section(fields, expected):
    options = base_config().data
    options.update(fields)
    assert list(SOURCES[options.source].problems(options)) == expected


def test_counts_are_those_that_are_expected(tmp_path):
    path = small.write_npz(tmp_path / "pool.npz")
    assert len(small.dataset("arrays", path=path, expected=(64, 24, 3), limit_per_class=2).train.keys) == 6
    with pytest.raises(DataError, match=r"64 images, 24 to test, 3 classes; data\.expected says 60 images, 24"):
        small.dataset("arrays", path=path, expected=(60, 24, 3))


def test_a_pool_may_be_limited(tmp_path):
    """The limit holds per class, and unlabelled images count as one. Other images do not change the choice."""
    root = small.write_folder(tmp_path / "pool", n=30)
    table = tmp_path / "l.csv"
    table.write_text("path,label\nant/000.png,dog\nant/003.png,dog\ncat/002.png,eel\n")
    dataset = small.dataset("folder", path=root, labels=str(table), limit_per_class=5)
    assert np.bincount(dataset.train.labels + 1).tolist() == [5, 2, 1]
    test = small.write_folder(tmp_path / "test", n=9)
    classes = small.dataset("folder", path=root, test_path=test, limit_per_class=2)
    assert np.bincount(classes.train.labels).tolist() == [2, 2, 2]
    assert classes.test is not None
    assert np.bincount(classes.test.labels).tolist() == [2, 2, 2]
    images = small.squares(classes.train, 10)
    whole = small.dataset("folder", path=root)
    rows = [whole.train.keys.index(key) for key in classes.train.keys]
    np.testing.assert_array_equal(images, small.squares(whole.train, 10)[rows])


def test_the_fast_decoder_is_an_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / name / "x.jpg")
    with pytest.raises(ConfigError, match="needs the extra fast-decode"):
        small.dataset("folder", path=str(tmp_path), decoder="fast")


def test_undecodable_images_are_listed_together(tmp_path):
    root = small.write_folder(tmp_path / "pool", n=9)
    for name in ("ant/000.png", "bee/001.png"):
        (tmp_path / "pool" / name).write_bytes(b"not an image")
    dataset = small.dataset("folder", path=root)
    with pytest.raises(DataError, match=r"2 of 9 images .*ant/000\.png.*bee/001\.png"):
        small.squares(dataset.train)


def test_broken_images_may_be_skipped(tmp_path):
    """Broken images leave no row, later calls skip them without decoding, and the digest stays."""
    root = small.write_folder(tmp_path / "pool", n=9)
    small.write_folder(tmp_path / "test", n=6)
    whole = small.dataset("folder", path=root, test_path=str(tmp_path / "test"), skip_bad=True)
    assert whole.skipped == ()
    size = (tmp_path / "pool/ant/000.png").stat().st_size
    for path in ("pool/ant/000.png", "test/cat/005.png"):
        (tmp_path / path).write_bytes(b"x" * size)
    rest = small.dataset("folder", path=root, test_path=str(tmp_path / "test"), skip_bad=True)
    assert rest.skipped == (("train", "ant/000.png", "not an image"), ("test", "cat/005.png", "not an image"))
    assert rest.train.content == whole.train.content
    assert rest.train.keys == whole.train.keys[1:]
    np.testing.assert_array_equal(rest.train.labels, whole.train.labels[1:])
    images, _ = small.pool(9, size=10)
    np.testing.assert_array_equal(small.squares(rest.train, 10), images[[3, 6, 1, 4, 7, 2, 5, 8]])
    assert rest.test is not None
    assert len(rest.test.keys) == 5
    (tmp_path / "pool/ant/000.png").unlink()
    small.write_folder(tmp_path / "pool", n=9)  # whole again
    again = small.dataset("folder", path=root, test_path=str(tmp_path / "test"), skip_bad=True, skipped=rest.skipped)
    assert again.train.keys == rest.train.keys


def test_test_fraction_takes_labelled_examples_only(tmp_path):
    (x, y) = small.pool(60)
    y[30:] = -1
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y, classes=np.array(["a", "b", "c"]))
    dataset = small.dataset("arrays", path=str(tmp_path / "a.npz"), test_fraction=0.2)
    assert dataset.test is not None
    assert len(dataset.test.keys) == 6
    assert np.bincount(dataset.test.labels).tolist() == [2, 2, 2]
    assert len(dataset.train.keys) == 54
    assert not set(dataset.train.keys) & set(dataset.test.keys)
    rows = [int(key.split("/")[1]) for key in dataset.test.keys]
    np.testing.assert_array_equal(small.squares(dataset.test), x[rows])
    np.savez(tmp_path / "b.npz", x_train=x[:6], y_train=np.array([0, 0, 0, 1, 1, 2]))
    few = small.dataset("arrays", path=str(tmp_path / "b.npz"), test_fraction=0.5)
    assert set(few.train.labels) == {0, 1, 2}  # never a class's only label
    with pytest.raises(DataError, match=r"test_fraction = 0\.01"):
        small.dataset("arrays", path=str(tmp_path / "a.npz"), test_fraction=0.01)
