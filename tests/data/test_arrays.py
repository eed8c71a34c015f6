"""Sources that are arrays: the digits and .npz files."""

import numpy as np
import pytest

from semiprune_jax.data.resize import Resize
from semiprune_jax.errors import DataError
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
    dataset = small.dataset("arrays", path=path)
    assert dataset.classes == ("ant", "bee", "cat")
    np.testing.assert_array_equal(small.squares(dataset.train), small.pool(64)[0])
    np.testing.assert_array_equal(dataset.train.read(np.array([5, 3]), Resize(8)), small.pool(64)[0][[5, 3]])
    np.testing.assert_array_equal(dataset.train.labels, small.pool(64)[1])
    assert dataset.test is not None
    assert len(dataset.test.keys) == 24
    assert small.squares(dataset.train, 6).shape == (64, 6, 6, 3)


def test_npz_may_be_grey_and_without_test(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=np.zeros((4, 8, 8), np.uint8), y_train=np.array([0, 1, -1, 2]))
    dataset = small.dataset("arrays", path=str(tmp_path / "a.npz"))
    assert dataset.test is None
    assert dataset.classes == ("0", "1", "2")
    assert small.squares(dataset.train).shape == (4, 8, 8, 3)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y_train": np.zeros(2, int)}, "no array 'x_train'"),
        ({"x_train": np.zeros((2, 8, 8, 3)), "y_train": np.arange(2)}, "expected uint8"),
        ({"x_train": np.zeros((2, 8), np.uint8), "y_train": np.arange(2)}, "expected uint8"),
        ({"x_train": np.zeros((2, 8, 8, 3), np.uint8), "y_train": np.arange(3)}, "expected one label per image"),
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
        small.dataset("arrays", path=str(tmp_path / "bad.npz"))


def test_labels_may_be_bytes(tmp_path):
    """CIFAR's labels often are."""
    images, labels = small.pool(6)
    np.savez(tmp_path / "a.npz", x_train=images, y_train=labels.astype(np.uint8))
    assert small.dataset("arrays", path=str(tmp_path / "a.npz")).train.labels.tolist() == labels.tolist()


def test_npz_that_is_none(tmp_path):
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(DataError, match="cannot be read"):
        small.dataset("arrays", path=str(tmp_path / "text.npz"))
    with pytest.raises(DataError, match="is not a file"):
        small.dataset("arrays", path=str(tmp_path / "none.npz"))
