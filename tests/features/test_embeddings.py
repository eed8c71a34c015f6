"""Embeddings from files of every kind, by id and by key, and every error that a file can have."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from semiprune_jax.errors import DataError
from semiprune_jax.features import embeddings

KEYS = [f"cat/{i}.jpg" for i in range(6)]
ORDER = np.array([3, 1, 0, 5, 4, 2])


@pytest.fixture
def features(rng):
    return rng.normal(size=(6, 3)).astype(np.float32)


def test_every_kind_of_file(tmp_path, features):
    """Rows are in the order of ids, or in another order with ids or keys."""
    shuffled, names = features[ORDER], [KEYS[i] for i in ORDER]
    np.save(tmp_path / "plain.npy", features)
    np.savez(tmp_path / "plain.npz", features=features)
    np.savez(tmp_path / "ids.npz", features=shuffled, ids=ORDER)
    np.savez(tmp_path / "keys.npz", features=shuffled.astype(np.float64), keys=np.array(names))
    np.savez(tmp_path / "bytes.npz", features=shuffled, keys=np.array([name.encode() for name in names]))
    save_file({"features": shuffled, "ids": ORDER}, tmp_path / "ids.safetensors")
    save_file({"features": features.astype(np.float16)}, tmp_path / "half.safetensors")
    pq.write_table(pa.table({"key": names, "features": list(shuffled)}), tmp_path / "keys.parquet")
    pq.write_table(pa.table({"id": ORDER, "features": list(shuffled)}), tmp_path / "ids.parquet")
    for path in sorted(tmp_path.iterdir()):
        found = embeddings.read(path, KEYS)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, features, atol=2e-3 if "half" in path.name else 0, err_msg=path.name)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.ones((6, 3))}, "has no 'features', only x"),
        ({"features": np.ones(6)}, r"features are float64\[6\]; expected numbers \[N, D\]"),
        ({"features": np.full((6, 3), "a")}, r"expected numbers \[N, D\]"),
        ({"features": np.ones((5, 3))}, "has 5 embeddings; the pool has 6 images"),
        ({"features": np.full((6, 3), np.nan)}, "6 embeddings are not finite, first that of 'cat/0.jpg'"),
        ({"features": np.ones((6, 3)), "ids": np.arange(1, 7)}, r"ids are not whole numbers of 0 \.\. 5"),
        ({"features": np.ones((6, 3)), "ids": np.zeros(6, int)}, "more than one embedding of 'cat/0.jpg'"),
        ({"features": np.ones((6, 3)), "keys": np.array(["dog"] * 6)}, "names 6 images .* first 'dog'"),
        ({"features": np.ones((6, 3)), "keys": np.array(["dog"] * 5)}, r"keys are \[5\]; expected \[6\]"),
        ({"features": np.ones((6, 3)), "keys": np.array([["dog"]] * 6)}, r"keys are \[6, 1\]; expected \[6\]"),
        ({"features": np.array([None] * 6, object)}, "cannot be read .*Object arrays cannot be loaded"),
    ],
)
def test_errors_of_content(tmp_path, arrays, message):
    np.savez(tmp_path / "e.npz", **arrays)
    with pytest.raises(DataError, match=message):
        embeddings.read(tmp_path / "e.npz", KEYS)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("e.txt", b"1 2 3", r"expected a file that ends in \.npy"),
        ("e.npy", b"text", "cannot be read"),
        ("e.npz", b"PK", "cannot be read"),
        ("e.safetensors", b"\xff" * 20, "cannot be read"),
        ("e.parquet", b"PAR1", "cannot be read"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=message) as raised:
        embeddings.read(tmp_path / name, KEYS)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="cannot be read: No such file"):
        embeddings.read(tmp_path / "none.npy", KEYS)
