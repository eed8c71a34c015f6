"""Datasets as TFDS prepares them, written by hand: encoded bytes need no TensorFlow."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image
from tensorflow_datasets.proto import tf_example_pb2

from semiprune_jax import pipeline
from semiprune_jax.data.decode import decode
from semiprune_jax.data.resize import Resize
from semiprune_jax.errors import ConfigError, DataError, DeviceError
from semiprune_jax.workdir import directory
from tests import small

CLASSES = ["ant", "bee", "cat"]


def jpeg(i):
    """An image whose size and colour depend on its number."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((20 + i % 7, 30 - i % 5, 3), 8 * i % 255, np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def write(
    root, splits, *, name="tiny", named=True, suffix="array_record", label=lambda i: i % 3, key="{split}_{i}.jpg"
):
    """A dataset in TFDS' layout: ``splits`` maps a name to the lengths of its shards."""
    features = {
        "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
        "label": tfds.features.ClassLabel(names=CLASSES),
    } | ({"file_name": tfds.features.Text()} if named else {})
    place = root / name / "1.0.0"
    place.mkdir(parents=True)
    infos = []
    for split, lengths in splits.items():
        template = tfds.core.ShardedFileTemplate(data_dir=place, dataset_name=name, split=split, filetype_suffix=suffix)
        infos.append(
            tfds.core.SplitInfo(name=split, shard_lengths=list(lengths), num_bytes=0, filename_template=template)
        )
        number = 0
        for shard, length in enumerate(lengths):
            path = place / f"{name}-{split}.{suffix}-{shard:05d}-of-{len(lengths):05d}"
            writer = ArrayRecordWriter(str(path), "group_size:1")
            for _ in range(length):
                example = tf_example_pb2.Example()
                example.features.feature["image"].bytes_list.value.append(jpeg(number))
                example.features.feature["label"].int64_list.value.append(label(number))
                if named:
                    example.features.feature["file_name"].bytes_list.value.append(
                        key.format(split=split, i=number).encode()
                    )
                writer.write(example.SerializeToString())
                number += 1
            writer.close()
    tfds.folder_dataset.write_metadata(
        data_dir=place, features=tfds.features.FeaturesDict(features), split_infos=infos, check_data=False
    )
    return str(root)


def load(path, **options):
    defaults = {"name": "tiny", "split": "train", "test_split": "test"}
    return small.dataset("tfds", path=path, **(defaults | options))


def test_a_prepared_dataset(tmp_path):
    """Ids are positions across shards, keys are the dataset's own, and pixels are those of the JPEGs."""
    dataset = load(write(tmp_path, {"train": (5, 4, 11), "test": (7,)}))
    assert dataset.classes == tuple(CLASSES)
    assert dataset.train.keys == [f"train_{i}.jpg" for i in range(20)]
    np.testing.assert_array_equal(dataset.train.labels, np.arange(20) % 3)
    expected = np.stack([Resize(16)(decode(jpeg(i))) for i in range(20)])
    np.testing.assert_array_equal(small.squares(dataset.train, 16), expected)
    np.testing.assert_array_equal(dataset.train.read(np.array([19, 4, 5]), Resize(16)), expected[[19, 4, 5]])
    assert dataset.test is not None
    assert len(dataset.test.keys) == 7


def test_without_names_positions_are_keys_and_slices_are_splits(tmp_path):
    path = write(tmp_path, {"train": (6, 6)}, named=False)
    dataset = load(path, split="train[:9]", test_split="train[9:]")
    assert dataset.train.keys[8] == "train[:9]/0000008"
    assert dataset.test is not None
    np.testing.assert_array_equal(dataset.test.labels, [0, 1, 2])
    assert load(path, name="tiny:1.0.0", test_split="").test is None
    again = load(path, split="train[:8]", test_split="")
    assert again.train.content != dataset.train.content


def test_a_run_on_it(tmp_path):
    """A config may name it, and another version of the data is another pool."""
    config = small.config()
    config.data.source, config.data.name, config.data.split = "tfds", "tiny", "train"
    config.data.path = write(tmp_path / "data", {"train": (20, 20), "test": (9,)})
    lines = []
    directory.open_workdir(tmp_path / "w", overwrite=False)
    pipeline.run(config, tmp_path / "w", until="label", log=lines.append)
    assert "40 images, 3 classes, 10 labelled; 9 to test" in lines[0]
    other = config.copy_and_resolve_references()
    other.data.path = write(tmp_path / "other", {"train": (20, 21), "test": (9,)})
    with pytest.raises(ConfigError, match="what it reads from 'pool' changed"):
        pipeline.run(other, tmp_path / "w", until="label", log=lines.append)


def test_variants_and_skipping_work_on_it_as_on_any_source(tmp_path, monkeypatch):
    path = write(tmp_path, {"train": (30,)})
    clean = small.squares(load(path, test_split="").train, 16)
    dataset = load(path, test_split="", corruption=0.5, imbalance=0.5, image_size=16)
    assert np.bincount(dataset.train.labels).tolist() == [10, 7, 5]
    rows = [int(key.split("_")[1].split(".")[0]) for key in dataset.train.keys]
    same = (small.squares(dataset.train, 16) == clean[rows]).all(axis=(1, 2, 3))
    assert np.all(same[dataset.corruption < 0])
    assert np.mean(same[dataset.corruption >= 0]) < 0.5  # a lower resolution leaves single-colour images unchanged
    monkeypatch.setattr(sys.modules[__name__], "jpeg", lambda i: b"broken" if i == 3 else b"GIF")
    broken = write(tmp_path / "b", {"train": (5,)})
    with pytest.raises(DataError, match=r"5 of 5 images in tiny/1.0.0 \(train\) cannot be decoded: train_0.jpg"):
        small.squares(load(broken, test_split="").train, 16)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "nope"}, "data.name = 'nope' in .* is not a prepared dataset"),
        ({"name": "tiny:9.9.9"}, "data.name = 'tiny:9.9.9' in .* is not a prepared dataset"),
        ({"split": "validation"}, r"data.split = 'validation': Unknown split 'validation'.*has train, test"),
        ({"test_split": "train[:5"}, r"data.test_split = 'train\[:5'"),
        ({"name": "cifar10"}, "data.name = 'cifar10' in .* has not been prepared"),
    ],
)
def test_messages_name_the_missing_part(tmp_path, options, message):
    path = write(tmp_path, {"train": (4,), "test": (3,)})
    with pytest.raises(DataError, match=message):
        load(path, **options)


def test_another_format_and_labels_out_of_range(tmp_path):
    old = write(tmp_path / "a", {"train": (4,)}, suffix="tfrecord")
    with pytest.raises(DataError, match="was prepared as tfrecord; prepare it with file_format='array_record'"):
        load(old, test_split="")
    wrong = write(tmp_path / "b", {"train": (4,)}, label=lambda i: i)
    with pytest.raises(DataError, match=r"labels span 0\.\.3; expected -1\.\.2"):
        load(wrong, test_split="")


def test_labels_are_read_once(tmp_path, monkeypatch):
    """A note belongs to certain files; other files are read again."""
    path, notes = write(tmp_path, {"train": (5, 4), "test": (3,)}), tmp_path / "notes"
    first = load(path, notes=notes)
    assert len(list(notes.iterdir())) == 2

    def read(*args):
        raise AssertionError("records are read")

    source = tfds.core.data_sources.array_record.ArrayRecordDataSource
    monkeypatch.setattr(source, "__getitems__", read)
    again = load(path, notes=notes)
    assert again.train.keys == first.train.keys
    assert again.train.content == first.train.content
    with pytest.raises(AssertionError, match="records are read"):
        load(path, split="train[:5]", notes=notes)
    monkeypatch.undo()
    with pytest.raises(
        DeviceError, match=r"/proc/none cannot be written \(.*\); name another directory as data\.cache"
    ):
        load(path, notes=Path("/proc/none"))
    unnamed = write(tmp_path / "b", {"train": (4,)}, named=False)
    for _ in range(2):
        assert load(unnamed, test_split="", notes=notes).train.keys[3] == "train/0000003"


def test_keys_that_repeat_and_features_that_are_missing(tmp_path):
    repeated = write(tmp_path / "a", {"train": (4,)}, key="same.jpg")
    with pytest.raises(DataError, match="'file_name' gives 4 examples 1 names; expected a different one for each"):
        load(repeated, test_split="")
    plain = write(tmp_path / "b", {"train": (4,)})
    features = tmp_path / "b" / "tiny" / "1.0.0" / "features.json"
    features.write_text(features.read_text().replace("image_feature.Image", "text_feature.Text"))
    with pytest.raises(DataError, match="has 0 features of type Image; expected one"):
        load(plain, test_split="")


def test_tensorflow_is_not_loaded(tmp_path):
    path = write(tmp_path, {"train": (4,)})
    fields = {"source": "tfds", "path": path, "name": "tiny", "test_split": ""}
    code = (
        "import sys; from semiprune_jax.config.schema import base_config; from semiprune_jax.data import sources; "
        f"options = base_config().data; options.update({fields}); "
        "sources.load(options, seed=0).train.image(0); print('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
