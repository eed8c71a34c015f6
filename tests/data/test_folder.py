"""Folders of images: class folders, tables and buckets, and the errors that each can have."""

import os
import tarfile
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from etils import epath
from PIL import Image

from semiprune_jax.errors import DataError
from tests import small


def test_class_folders(tmp_path):
    root = small.write_folder(tmp_path / "train")
    small.write_folder(tmp_path / "test", n=9)
    dataset = small.dataset("folder", path=root, test_path=str(tmp_path / "test"))
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
    dataset = small.dataset("folder", path=root, labels=table)
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
        small.dataset("folder", path=root, labels=write_csv(tmp_path / "l.csv", text))


def write_parquet(path, columns):
    pq.write_table(pa.table(columns), path)
    return str(path)


def test_a_parquet_table_reads_as_a_csv(tmp_path):
    root = small.write_folder(tmp_path / "pool")
    rows = {"path": ["ant/000.png", "bee/001.png", "cat/002.png"], "label": ["dog", None, "eel"], "more": [1, 2, 3]}
    dataset = small.dataset("folder", path=root, labels=write_parquet(tmp_path / "l.parquet", rows))
    table = write_csv(tmp_path / "l.csv", "path,label\nant/000.png,dog\nbee/001.png,\ncat/002.png,eel\n")
    same = small.dataset("folder", path=root, labels=table)
    assert dataset.train.content == same.train.content
    assert dataset.classes == same.classes == ("dog", "eel")
    numbers = {"path": rows["path"], "label": [7.0, None, 3.0]}  # pandas turns whole numbers with gaps into floats
    numbered = small.dataset("folder", path=root, labels=write_parquet(tmp_path / "n.parquet", numbers))
    assert numbered.classes == ("3", "7")
    assert np.bincount(numbered.train.labels + 1).tolist() == [28, 1, 1]


def test_a_table_may_be_the_pool(tmp_path):
    """Without a folder, the table names images below its own folder, for the test set too."""
    small.write_folder(tmp_path / "images", n=12)
    names = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png"))
    lines = [f"{name},{name.split('/')[1]}\n" for name in names]
    pool = write_csv(tmp_path / "pool.csv", "path,label\n" + "".join(lines[:9]))
    test = write_csv(tmp_path / "test.csv", "path,label\n" + "".join(lines[9:]))
    dataset = small.dataset("folder", labels=pool, test_labels=test)
    assert dataset.classes == ("ant", "bee", "cat")
    assert dataset.train.keys == names[:9]
    assert dataset.test is not None
    assert dataset.test.keys == names[9:]
    assert small.squares(dataset.train, 10).shape == (9, 10, 10, 3)
    with pytest.raises(DataError, match=r"both name 'images/ant/000\.png'; keep pool and test set apart"):
        small.dataset("folder", labels=pool, test_labels=write_csv(tmp_path / "b.csv", "path,label\n" + lines[0]))
    with pytest.raises(DataError, match=r"gives 'images/cat/011.png' no label; a test set needs them all"):
        small.dataset("folder", labels=pool, test_labels=write_csv(tmp_path / "c.csv", f"path,label\n{names[-1]},\n"))
    for name in ("/etc/a.png", "../a.png", "images/../../a.png"):
        with pytest.raises(DataError, match=r"line 2: .* leaves the table's folder"):
            small.dataset("folder", labels=write_csv(tmp_path / "d.csv", f"path,label\n{name},a\n"))
    with pytest.raises(DataError, match=r"gone\.png cannot be read: No such file"):
        small.dataset("folder", labels=write_csv(tmp_path / "e.csv", f"path,label\n{lines[0]}images/gone.png,a\n"))
    with pytest.raises(DataError, match=r"f\.csv names no images"):
        small.dataset("folder", labels=write_csv(tmp_path / "f.csv", "path,label\n"))
    (tmp_path / "g.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"g\.parquet cannot be read as parquet"):
        small.dataset("folder", labels=str(tmp_path / "g.parquet"))


def test_tiny_imagenets_layout(tmp_path):
    """There are train/<class>/images/*.JPEG, and val/images with the classes in val_annotations.txt."""
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
    dataset = small.dataset("folder", **options)
    assert dataset.classes == ("n00", "n01", "n02")
    assert dataset.test is not None
    found = dict(zip(dataset.test.keys, dataset.test.labels.tolist(), strict=True))
    assert found == {f"images/val_{i}.JPEG": c for i, c in enumerate(labels.tolist())}
    annotations.write_text("val_0.JPEG\tn00\n")
    with pytest.raises(DataError, match=r"holds 'images/val_1\.JPEG' outside any class folder"):
        small.dataset("folder", **options)
    annotations.write_text("val_0.JPEG n00\n")
    with pytest.raises(DataError, match=r"val_annotations\.txt is not a table of file and class, separated by tabs"):
        small.dataset("folder", **options)


def test_a_bucket_reads_as_a_folder(tmp_path, monkeypatch):
    """gs:// goes through etils.epath, whose backend here is a folder."""
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
    dataset = small.dataset("folder", path="gs://bucket/pool")
    here = small.dataset("folder", path=str(tmp_path / "bucket" / "pool"))
    assert dataset.train.keys == here.train.keys
    np.testing.assert_array_equal(small.squares(dataset.train, 10), small.squares(here.train, 10))
    table = tmp_path / "bucket" / "pool.csv"
    write_csv(table, "path,label\n" + "".join(f"pool/{key},{key[:3]}\n" for key in here.train.keys))
    assert len(small.dataset("folder", labels="gs://bucket/pool.csv").train.keys) == 9


def test_a_bucket_that_refuses_is_told_in_one_line(monkeypatch):
    def refuse(self):
        raise PermissionError("403: you may not\nread this")

    monkeypatch.setattr(type(epath.Path("gs://bucket")), "exists", refuse)
    with pytest.raises(DataError, match="gs://bucket/pool cannot be read: 403: you may not read this"):
        small.dataset("folder", path="gs://bucket/pool")


def test_bad_folders(tmp_path):
    with pytest.raises(DataError, match="is not a folder"):
        small.dataset("folder", path=str(tmp_path / "none"))
    with pytest.raises(DataError, match="holds no images"):
        small.dataset("folder", path=str(tmp_path))
    Image.new("RGB", (4, 4)).save(tmp_path / "loose.png")
    with pytest.raises(DataError, match="is not made of class folders"):
        small.dataset("folder", path=str(tmp_path))
    root = small.write_folder(tmp_path / "pool", n=3)
    small.write_folder(tmp_path / "test", n=3)
    (tmp_path / "test" / "bee").rename(tmp_path / "test" / "elk")
    with pytest.raises(DataError, match="holds the folder 'elk', which is no class"):
        small.dataset("folder", path=root, test_path=str(tmp_path / "test"))


@pytest.mark.parametrize("by_table", [False, True])
def test_links_out_of_the_folder_are_followed_on_request_only(tmp_path, by_table):
    """The image, or a folder above it, is a link. Links within the folder are images like any other."""
    small.write_folder(tmp_path / "elsewhere", n=2)
    pool = tmp_path / "pool"
    small.write_folder(pool, n=6)
    (pool / "ant" / "again.png").symlink_to(pool / "ant" / "000.png")
    whole = small.dataset("folder", path=str(pool))
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
        small.dataset("folder", **places)
    followed = small.dataset("folder", **places, follow_links=True).train
    assert small.squares(followed, 10).shape == (2 if by_table else 8, 10, 10, 3)


def test_a_test_folder_inside_the_pool_would_leak(tmp_path):
    root = small.write_folder(tmp_path / "pool", n=6)
    small.write_folder(tmp_path / "pool" / "test", n=6)
    for path, test_path in ((root, f"{root}/test"), (f"{root}/test", root), (root, root)):
        with pytest.raises(DataError, match="lie in each other"):
            small.dataset("folder", path=path, test_path=test_path)


def test_names_that_are_no_text(tmp_path):
    root = small.write_folder(tmp_path / "pool", n=6)
    (tmp_path / "pool" / "ant" / "000.png").rename(tmp_path / "pool" / "ant" / "a\nb.png")
    with pytest.raises(DataError, match="cannot be written on a line"):
        small.dataset("folder", path=root)
    (tmp_path / "pool" / "ant" / "a\nb.png").rename(os.fsdecode(os.fsencode(root) + b"/ant/\xff.png"))
    with pytest.raises(DataError, match="cannot be written on a line"):
        small.dataset("folder", path=root)


def test_classes_may_be_named(tmp_path):
    """Classes keep the given order; a class without an image keeps its place."""
    root = small.write_folder(tmp_path / "pool", n=6)
    dataset = small.dataset("folder", path=root, classes=("dog", "cat", "bee", "ant"))
    assert dataset.classes == ("dog", "cat", "bee", "ant")
    assert dict(zip(dataset.train.keys, dataset.train.labels.tolist(), strict=True))["ant/000.png"] == 3
    table = write_csv(tmp_path / "l.csv", "path,label\nant/000.png,bee\n")
    dataset = small.dataset("folder", path=root, labels=table, classes=("cat", "bee"))
    assert dataset.train.labels.max() == 1


@pytest.mark.long
def test_sixty_thousand_real_images(tmp_path, capsys):
    """SEMIPRUNE_CIFAR10_JPEG names an archive of CIFAR-10 as class folders of JPEGs."""
    with tarfile.open(os.environ["SEMIPRUNE_CIFAR10_JPEG"]) as archive:
        archive.extractall(tmp_path, filter="data")
    began = time.monotonic()
    train = str(next(tmp_path.rglob("train")))
    dataset = small.dataset("folder", path=train, test_path=str(next(tmp_path.rglob("test"))))
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
