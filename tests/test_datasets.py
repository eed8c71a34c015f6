"""Sources, the label budget, and the memory pool."""

import os
import sys
import tarfile
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from etils import epath
from PIL import Image

from semiprune_jax.data import sources
from semiprune_jax.data.budget import draw
from semiprune_jax.data.memory import MemoryPool, fetch
from semiprune_jax.data.resize import Resize
from semiprune_jax.errors import ConfigError, DataError
from tests import small


def test_digits(digits):
    assert len(digits.train.keys) == 1437
    assert len(digits.test.keys) == 360
    assert not set(digits.train.keys) & set(digits.test.keys)
    assert digits.classes == tuple("0123456789")
    share = np.bincount(digits.test.labels) / np.bincount(np.r_[digits.train.labels, digits.test.labels])
    np.testing.assert_allclose(share, 0.2, atol=0.01)
    images = small.squares(digits.train)
    assert images.shape == (1437, 8, 8, 3)
    assert images.dtype == np.uint8
    assert images.min() == 0
    assert images.max() == 255
    np.testing.assert_array_equal(images[..., 0], images[..., 2])


def test_digits_split_does_not_drift(digits):
    """Golden: the results in the README belong to this split."""
    assert list(digits.test.keys[:5]) == GOLDEN


GOLDEN = ["digits/0006", "digits/0020", "digits/0023", "digits/0030", "digits/0031"]


def test_npz(tmp_path):
    path = small.write_npz(tmp_path / "pool.npz")
    dataset = sources.load("arrays", path=path)
    assert dataset.classes == ("ant", "bee", "cat")
    np.testing.assert_array_equal(small.squares(dataset.train), small.pool(64)[0])
    np.testing.assert_array_equal(dataset.train.read(np.array([5, 3]), Resize(8)), small.pool(64)[0][[5, 3]])
    np.testing.assert_array_equal(dataset.train.labels, small.pool(64)[1])
    assert dataset.test is not None
    assert len(dataset.test.keys) == 24
    assert small.squares(dataset.train, 6).shape == (64, 6, 6, 3)


def test_npz_may_be_grey_and_without_test(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=np.zeros((4, 8, 8), np.uint8), y_train=np.array([0, 1, -1, 2]))
    dataset = sources.load("arrays", path=str(tmp_path / "a.npz"))
    assert dataset.test is None
    assert dataset.classes == ("0", "1", "2")
    assert small.squares(dataset.train).shape == (4, 8, 8, 3)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y_train": np.zeros(2, int)}, "no array 'x_train'"),
        ({"x_train": np.zeros((2, 8, 8, 3)), "y_train": np.arange(2)}, "expected uint8"),
        ({"x_train": np.zeros((2, 8), np.uint8), "y_train": np.arange(2)}, "expected uint8"),
        ({"x_train": np.zeros((2, 8, 8, 3), np.uint8), "y_train": np.arange(3)}, "expected one label an image"),
        ({"x_train": np.zeros((2, 8, 8, 3), np.uint8), "y_train": np.array(["a", "b"])}, "expected whole numbers"),
        ({"x_train": np.zeros((2, 8, 8, 3), np.uint8), "y_train": np.zeros(2, int)}, "labels of 1 classes"),
        ({"x_train": np.zeros((2, 8, 8, 3), np.uint8), "y_train": np.array([-1, -1])}, "labels of 0 classes"),
        (
            {
                **{"x_train": np.zeros((2, 8, 8, 3), np.uint8), "y_train": np.arange(2)},
                **{"x_test": np.zeros((2, 8, 8, 3), np.uint8), "y_test": np.array([0, -1])},
            },
            r"y_test spans -1\.\.0; expected 0\.\.1",
        ),
        (
            {
                **{"x_train": np.zeros((2, 8, 8, 3), np.uint8), "y_train": np.arange(2)},
                **{"keys_train": np.array(["a", "b\nc"])},
            },
            "cannot be written on a line",
        ),
        ({"x_train": np.zeros((2, 8, 8, 3), np.uint8), "y_train": np.zeros(2)}, "expected whole numbers"),
        ({"x_train": np.zeros((2, 8, 8, 3), np.uint8), "y_train": np.array([1, -2])}, r"spans -2\.\.1"),
        ({"x_train": np.array([object()]), "y_train": np.zeros(1, int)}, "Python objects, or no .npz at all"),
        ({"x_train": np.zeros((2, 8, 8, 3), np.uint8), "y_train": np.array([0, 1 << 40])}, "2 labels go up to 1099511"),
        (
            {"x_train": np.zeros((2, 8, 8, 3), np.uint8), "y_train": np.arange(2), "classes": np.array("ant")},
            r"classes is of shape \[\]; expected one list",
        ),
        (
            {
                "x_train": np.zeros((2, 8, 8, 3), np.uint8),
                "y_train": np.arange(2),
                "classes": np.array([b"\xff", b"b"]),
            },
            "bytes that are not UTF-8",
        ),
        (
            {"x_train": np.zeros((2, 8, 8, 3), np.uint8), "y_train": np.arange(2), "x_test": np.array(3)},
            r"x_test is int64\[\]; expected uint8",
        ),
    ],
)
def test_bad_npz(tmp_path, arrays, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(DataError, match=message):
        sources.load("arrays", path=str(tmp_path / "bad.npz"))


def test_labels_may_be_bytes(tmp_path):
    """As CIFAR's often are."""
    images, labels = small.pool(6)
    np.savez(tmp_path / "a.npz", x_train=images, y_train=labels.astype(np.uint8))
    assert sources.load("arrays", path=str(tmp_path / "a.npz")).train.labels.tolist() == labels.tolist()


def test_npz_that_is_none(tmp_path):
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(DataError, match="cannot be read"):
        sources.load("arrays", path=str(tmp_path / "text.npz"))
    with pytest.raises(DataError, match="is not a file"):
        sources.load("arrays", path=str(tmp_path / "none.npz"))


def test_class_folders(tmp_path):
    root = small.write_folder(tmp_path / "train")
    small.write_folder(tmp_path / "test", n=9)
    dataset = sources.load("folder", path=root, test_path=str(tmp_path / "test"))
    assert dataset.classes == ("ant", "bee", "cat")
    assert dataset.train.keys == sorted(dataset.train.keys)
    assert dataset.train.keys[0] == "ant/000.png"
    images, labels = small.pool(30, size=10)
    order = [int(key.split("/")[1][:3]) for key in dataset.train.keys]
    np.testing.assert_array_equal(small.squares(dataset.train, 10), images[order])
    np.testing.assert_array_equal(dataset.train.labels, labels[order])
    assert dataset.test is not None
    assert len(dataset.test.keys) == 9


def write_csv(path, text):
    path.write_text(text)
    return str(path)


def test_folder_with_csv(tmp_path):
    root = small.write_folder(tmp_path / "pool")
    table = write_csv(tmp_path / "l.csv", "path,label\nant/000.png,dog\nbee/001.png,\ncat/002.png,eel\n")
    dataset = sources.load("folder", path=root, labels=table)
    assert dataset.classes == ("dog", "eel")
    labels = dict(zip(dataset.train.keys, dataset.train.labels.tolist(), strict=True))
    assert labels["ant/000.png"] == 0
    assert labels["cat/002.png"] == 1
    assert sum(label >= 0 for label in labels.values()) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na,b\n", "has the columns file, label"),
        ("path,label\nnone.png,a\n", "line 2: 'none.png' is not an image"),
        ("path,label\n\n\nnone.png,a\n", "line 4: 'none.png' is not an image"),
        ("path,label\nant/000.png,a\nant/000.png,b\n", "line 3: 'ant/000.png' stands there twice"),
        ("path,label\nant/000.png,a\n", "names 1 classes"),
    ],
)
def test_bad_csv(tmp_path, text, message):
    root = small.write_folder(tmp_path / "pool", n=3)
    with pytest.raises(DataError, match=message):
        sources.load("folder", path=root, labels=write_csv(tmp_path / "l.csv", text))


def write_parquet(path, columns):
    pq.write_table(pa.table(columns), path)
    return str(path)


def test_a_parquet_table_reads_as_a_csv(tmp_path):
    root = small.write_folder(tmp_path / "pool")
    rows = {"path": ["ant/000.png", "bee/001.png", "cat/002.png"], "label": ["dog", None, "eel"], "more": [1, 2, 3]}
    dataset = sources.load("folder", path=root, labels=write_parquet(tmp_path / "l.parquet", rows))
    table = write_csv(tmp_path / "l.csv", "path,label\nant/000.png,dog\nbee/001.png,\ncat/002.png,eel\n")
    same = sources.load("folder", path=root, labels=table)
    assert dataset.train.content == same.train.content
    assert dataset.classes == same.classes == ("dog", "eel")
    numbers = {"path": rows["path"], "label": [7.0, None, 3.0]}  # what pandas makes of whole numbers with gaps
    numbered = sources.load("folder", path=root, labels=write_parquet(tmp_path / "n.parquet", numbers))
    assert numbered.classes == ("3", "7")
    assert np.bincount(numbered.train.labels + 1).tolist() == [28, 1, 1]


def test_a_table_may_be_the_pool(tmp_path):
    """Without a folder to scan: the images are those the table names, below its own folder; the test set's as well."""
    small.write_folder(tmp_path / "images", n=12)
    names = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png"))
    lines = [f"{name},{name.split('/')[1]}\n" for name in names]
    pool = write_csv(tmp_path / "pool.csv", "path,label\n" + "".join(lines[:9]))
    test = write_csv(tmp_path / "test.csv", "path,label\n" + "".join(lines[9:]))
    dataset = sources.load("folder", labels=pool, test_labels=test)
    assert dataset.classes == ("ant", "bee", "cat")
    assert dataset.train.keys == names[:9]
    assert dataset.test is not None
    assert dataset.test.keys == names[9:]
    assert small.squares(dataset.train, 10).shape == (9, 10, 10, 3)
    with pytest.raises(DataError, match=r"both name 'images/ant/000\.png'; keep pool and test set apart"):
        sources.load("folder", labels=pool, test_labels=write_csv(tmp_path / "b.csv", "path,label\n" + lines[0]))
    with pytest.raises(DataError, match=r"gives 'images/cat/011.png' no label; a test set needs them all"):
        sources.load("folder", labels=pool, test_labels=write_csv(tmp_path / "c.csv", f"path,label\n{names[-1]},\n"))
    for name in ("/etc/a.png", "../a.png", "images/../../a.png"):
        with pytest.raises(DataError, match=r"line 2: .* leaves the table's folder"):
            sources.load("folder", labels=write_csv(tmp_path / "d.csv", f"path,label\n{name},a\n"))
    with pytest.raises(DataError, match=r"gone\.png cannot be read: No such file"):
        sources.load("folder", labels=write_csv(tmp_path / "e.csv", f"path,label\n{lines[0]}images/gone.png,a\n"))
    with pytest.raises(DataError, match=r"f\.csv names no images"):
        sources.load("folder", labels=write_csv(tmp_path / "f.csv", "path,label\n"))
    (tmp_path / "g.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"g\.parquet cannot be read as parquet"):
        sources.load("folder", labels=str(tmp_path / "g.parquet"))


def test_tiny_imagenets_layout(tmp_path):
    """train/<class>/images/*.JPEG, and val/images with the classes in val_annotations.txt."""
    images, labels = small.pool(12)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        train = tmp_path / "train" / f"n0{label}" / "images"
        train.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(train / f"n0{label}_{i}.JPEG")
        (tmp_path / "val" / "images").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "val" / "images" / f"val_{i}.JPEG")
    annotations = tmp_path / "val" / "val_annotations.txt"
    annotations.write_text("".join(f"val_{i}.JPEG\tn0{c}\t0\t32\t44\t62\n" for i, c in enumerate(labels)))
    options = {"path": str(tmp_path / "train"), "test_path": str(tmp_path / "val")}
    dataset = sources.load("folder", **options)
    assert dataset.classes == ("n00", "n01", "n02")
    assert dataset.test is not None
    found = dict(zip(dataset.test.keys, dataset.test.labels.tolist(), strict=True))
    assert found == {f"images/val_{i}.JPEG": c for i, c in enumerate(labels.tolist())}
    annotations.write_text("val_0.JPEG\tn00\n")
    with pytest.raises(DataError, match=r"holds 'images/val_1\.JPEG' outside any class folder"):
        sources.load("folder", **options)
    annotations.write_text("val_0.JPEG n00\n")
    with pytest.raises(DataError, match=r"val_annotations\.txt is not a table of file and class, separated by tabs"):
        sources.load("folder", **options)


def test_a_bucket_reads_as_a_folder(tmp_path, monkeypatch):
    """gs:// through etils.epath, whose backend here is a folder."""
    small.write_folder(tmp_path / "bucket" / "pool", n=9)

    class Here:
        def __getattr__(self, name):
            return lambda path, *more, **options: getattr(epath.backend.os_backend, name)(
                str(path).replace("gs://bucket", str(tmp_path / "bucket")), *more, **options
            )

        def walk(self, path, **options):
            local = str(tmp_path / "bucket")
            for at, folders, files in os.walk(str(path).replace("gs://bucket", local)):
                yield at.replace(local, "gs://bucket"), folders, files

    monkeypatch.setattr(type(epath.Path("gs://bucket")), "_backend", Here())
    dataset = sources.load("folder", path="gs://bucket/pool")
    here = sources.load("folder", path=str(tmp_path / "bucket" / "pool"))
    assert dataset.train.keys == here.train.keys
    np.testing.assert_array_equal(small.squares(dataset.train, 10), small.squares(here.train, 10))
    table = tmp_path / "bucket" / "pool.csv"
    write_csv(table, "path,label\n" + "".join(f"pool/{key},{key[:3]}\n" for key in here.train.keys))
    assert len(sources.load("folder", labels="gs://bucket/pool.csv").train.keys) == 9


def test_a_bucket_that_refuses_is_told_in_one_line(monkeypatch):
    def refuse(self):
        raise PermissionError("403: you may not\nread this")

    monkeypatch.setattr(type(epath.Path("gs://bucket")), "exists", refuse)
    with pytest.raises(DataError, match="gs://bucket/pool cannot be read: 403: you may not read this"):
        sources.load("folder", path="gs://bucket/pool")


def test_a_pool_may_be_limited(tmp_path):
    """At most so many of each class, the same ones whatever lies beside them; unlabelled ones count as a class."""
    root = small.write_folder(tmp_path / "pool", n=30)
    table = write_csv(tmp_path / "l.csv", "path,label\nant/000.png,dog\nant/003.png,dog\ncat/002.png,eel\n")
    dataset = sources.load("folder", path=root, labels=table, limit_per_class=5)
    assert np.bincount(dataset.train.labels + 1).tolist() == [5, 2, 1]
    test = small.write_folder(tmp_path / "test", n=9)
    classes = sources.load("folder", path=root, test_path=test, limit_per_class=2)
    assert np.bincount(classes.train.labels).tolist() == [2, 2, 2]
    assert classes.test is not None
    assert np.bincount(classes.test.labels).tolist() == [2, 2, 2]
    images = small.squares(classes.train, 10)
    whole = sources.load("folder", path=root)
    rows = [whole.train.keys.index(key) for key in classes.train.keys]
    np.testing.assert_array_equal(images, small.squares(whole.train, 10)[rows])


def test_bad_folders(tmp_path):
    with pytest.raises(DataError, match="is not a folder"):
        sources.load("folder", path=str(tmp_path / "none"))
    with pytest.raises(DataError, match="holds no images"):
        sources.load("folder", path=str(tmp_path))
    Image.new("RGB", (4, 4)).save(tmp_path / "loose.png")
    with pytest.raises(DataError, match="is not made of class folders"):
        sources.load("folder", path=str(tmp_path))
    root = small.write_folder(tmp_path / "pool", n=3)
    small.write_folder(tmp_path / "test", n=3)
    (tmp_path / "test" / "bee").rename(tmp_path / "test" / "elk")
    with pytest.raises(DataError, match="holds the folder 'elk', which is no class"):
        sources.load("folder", path=root, test_path=str(tmp_path / "test"))


@pytest.mark.parametrize("by_table", [False, True])
def test_links_out_of_the_folder_are_followed_on_request_only(tmp_path, by_table):
    """An image that is one, or lies behind one; links within the folder are images like others."""
    small.write_folder(tmp_path / "elsewhere", n=2)
    pool = tmp_path / "pool"
    small.write_folder(pool, n=6)
    (pool / "ant" / "again.png").symlink_to(pool / "ant" / "000.png")
    whole = sources.load("folder", path=str(pool))
    assert "ant/again.png" in whole.train.keys
    if by_table:
        (pool / "bee" / "linked").symlink_to(tmp_path / "elsewhere" / "bee")
        (pool / "t.csv").write_text("path,label\nant/again.png,ant\nbee/linked/001.png,bee\n")
        places = {"labels": str(pool / "t.csv")}
    else:
        (pool / "bee" / "out.png").symlink_to(tmp_path / "elsewhere" / "bee" / "001.png")
        places = {"path": str(pool)}
    name = "bee/linked" if by_table else "bee/out.png"
    with pytest.raises(DataError, match=f"'{name}' is a link that leaves the folder, to .*elsewhere"):
        sources.load("folder", **places)
    followed = sources.load("folder", **places, follow_links=True).train
    assert small.squares(followed, 10).shape == (2 if by_table else 8, 10, 10, 3)


def test_a_test_folder_inside_the_pool_would_leak(tmp_path):
    root = small.write_folder(tmp_path / "pool", n=6)
    small.write_folder(tmp_path / "pool" / "test", n=6)
    for path, test_path in ((root, f"{root}/test"), (f"{root}/test", root), (root, root)):
        with pytest.raises(DataError, match="lie in each other"):
            sources.load("folder", path=path, test_path=test_path)


def test_names_that_are_no_text(tmp_path):
    root = small.write_folder(tmp_path / "pool", n=6)
    (tmp_path / "pool" / "ant" / "000.png").rename(tmp_path / "pool" / "ant" / "a\nb.png")
    with pytest.raises(DataError, match="cannot be written on a line"):
        sources.load("folder", path=root)
    (tmp_path / "pool" / "ant" / "a\nb.png").rename(os.fsdecode(os.fsencode(root) + b"/ant/\xff.png"))
    with pytest.raises(DataError, match="cannot be written on a line"):
        sources.load("folder", path=root)


def test_the_fast_decoder_is_an_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / name / "x.jpg")
    with pytest.raises(ConfigError, match="needs the extra fast-decode"):
        sources.load("folder", path=str(tmp_path), decoder="fast")


def test_undecodable_images_are_listed_together(tmp_path):
    root = small.write_folder(tmp_path / "pool", n=9)
    for name in ("ant/000.png", "bee/001.png"):
        (tmp_path / "pool" / name).write_bytes(b"not an image")
    dataset = sources.load("folder", path=root)
    with pytest.raises(DataError, match=r"2 of 9 images .*ant/000\.png.*bee/001\.png"):
        small.squares(dataset.train)


def test_broken_images_may_be_skipped(tmp_path):
    """They leave no row; what is skipped once is skipped again without looking, and the digest does not move."""
    root = small.write_folder(tmp_path / "pool", n=9)
    small.write_folder(tmp_path / "test", n=6)
    whole = sources.load("folder", path=root, test_path=str(tmp_path / "test"), skip_bad=True)
    assert whole.skipped == ()
    size = (tmp_path / "pool/ant/000.png").stat().st_size
    for path in ("pool/ant/000.png", "test/cat/005.png"):
        (tmp_path / path).write_bytes(b"x" * size)
    rest = sources.load("folder", path=root, test_path=str(tmp_path / "test"), skip_bad=True)
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
    again = sources.load("folder", path=root, test_path=str(tmp_path / "test"), skip_bad=True, skipped=rest.skipped)
    assert again.train.keys == rest.train.keys


def test_classes_may_be_named(tmp_path):
    """In the given order, and one without an image keeps its place."""
    root = small.write_folder(tmp_path / "pool", n=6)
    dataset = sources.load("folder", path=root, classes=("dog", "cat", "bee", "ant"))
    assert dataset.classes == ("dog", "cat", "bee", "ant")
    assert dict(zip(dataset.train.keys, dataset.train.labels.tolist(), strict=True))["ant/000.png"] == 3
    table = write_csv(tmp_path / "l.csv", "path,label\nant/000.png,bee\n")
    dataset = sources.load("folder", path=root, labels=table, classes=("cat", "bee"))
    assert dataset.train.labels.max() == 1


def test_test_fraction_takes_labelled_examples_only(tmp_path):
    (x, y) = small.pool(60)
    y[30:] = -1
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y, classes=np.array(["a", "b", "c"]))
    dataset = sources.load("arrays", path=str(tmp_path / "a.npz"), test_fraction=0.2)
    assert dataset.test is not None
    assert len(dataset.test.keys) == 6
    assert np.bincount(dataset.test.labels).tolist() == [2, 2, 2]
    assert len(dataset.train.keys) == 54
    assert not set(dataset.train.keys) & set(dataset.test.keys)
    rows = [int(key.split("/")[1]) for key in dataset.test.keys]
    np.testing.assert_array_equal(small.squares(dataset.test), x[rows])
    np.savez(tmp_path / "b.npz", x_train=x[:6], y_train=np.array([0, 0, 0, 1, 1, 2]))
    few = sources.load("arrays", path=str(tmp_path / "b.npz"), test_fraction=0.5)
    assert set(few.train.labels) == {0, 1, 2}  # never a class's only label
    with pytest.raises(DataError, match=r"test_fraction = 0\.01"):
        sources.load("arrays", path=str(tmp_path / "a.npz"), test_fraction=0.01)


LABELS = np.array([0] * 50 + [1] * 33 + [2] * 4)
KEYS = [f"k{i}" for i in range(len(LABELS))]


def test_draws():
    ids = draw("per_class", LABELS, KEYS, 0.1, seed=0)
    assert np.bincount(LABELS[ids]).tolist() == [4, 3, 1]
    assert np.all(np.diff(ids) > 0)
    np.testing.assert_array_equal(ids, draw("per_class", LABELS, KEYS, 8, seed=0))
    assert not np.array_equal(ids, draw("per_class", LABELS, KEYS, 8, seed=1))
    assert len(draw("uniform", LABELS, KEYS, 0.1, seed=0)) == 8
    given = np.where(np.arange(len(LABELS)) < 5, LABELS, -1)
    assert draw("given", given, KEYS, 0.1, seed=0).tolist() == [0, 1, 2, 3, 4]


def test_a_draw_belongs_to_the_keys_not_to_their_order(rng):
    order = rng.permutation(len(LABELS))
    for rule in ("per_class", "uniform"):
        ids = {KEYS[i] for i in draw(rule, LABELS, KEYS, 0.2, 0)}
        moved = draw(rule, LABELS[order], [KEYS[i] for i in order], 0.2, 0)
        assert {KEYS[order[i]] for i in moved} == ids


@pytest.mark.parametrize(
    ("rule", "labels", "budget", "message"),
    [
        ("best", LABELS, 0.1, "label rule 'best'"),
        ("uniform", np.r_[-1, LABELS[1:]], 0.1, "1 of 87 examples have no label"),
        ("uniform", LABELS, 0.001, "gives 0 labels"),
        ("uniform", LABELS, 88, "gives 88 labels of 87"),
    ],
)
def test_bad_draws(rule, labels, budget, message):
    with pytest.raises(ValueError, match=message):
        draw(rule, labels, KEYS, budget, 0)


def test_fetch_masks_padding():
    images, labels = small.pool(5)
    batch = fetch(MemoryPool.of(images, labels), np.array([3, 5, 0]))
    assert batch["mask"].tolist() == [True, False, True]
    np.testing.assert_array_equal(batch["image"][0], images[3])
    assert batch["label"][2] == labels[0]
    assert batch["id"].tolist() == [3, 5, 0]


@pytest.mark.long
def test_sixty_thousand_real_images(tmp_path, capsys):
    """CIFAR-10 as class folders of JPEGs, an archive named by SEMIPRUNE_CIFAR10_JPEG."""
    with tarfile.open(os.environ["SEMIPRUNE_CIFAR10_JPEG"]) as archive:
        archive.extractall(tmp_path, filter="data")
    began = time.monotonic()
    train = str(next(tmp_path.rglob("train")))
    dataset = sources.load("folder", path=train, test_path=str(next(tmp_path.rglob("test"))))
    scanned = time.monotonic()
    images = small.squares(dataset.train, 32)
    with capsys.disabled():
        print(f"\n60,000 files listed in {scanned - began:.1f} s, 50,000 decoded in {time.monotonic() - scanned:.1f} s")
    assert len(dataset.classes) == 10
    assert np.bincount(dataset.train.labels).tolist() == [5000] * 10
    assert dataset.test is not None
    assert np.bincount(dataset.test.labels).tolist() == [1000] * 10
    # The well-known means of the channels; JPEG compression moves them by less than this.
    np.testing.assert_allclose(images.mean(axis=(0, 1, 2)) / 255, [0.4914, 0.4822, 0.4465], atol=0.003)
