"""Squares, centre crops and random resized crops, against torchvision's arithmetic in Pillow."""

import numpy as np
import pytest
from PIL import Image

from semiprune_jax.data.resize import CenterCrop, RandomResizedCrop, Resize, random_box
from tests.goldens import natural_images

BILINEAR = Image.Resampling.BILINEAR


def photo(height, width):
    image = Image.fromarray(natural_images(1, 64)[0])
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))


def test_a_square_of_any_image():
    image = photo(40, 60)
    np.testing.assert_array_equal(Resize(32)(image), np.asarray(Image.fromarray(image).resize((32, 32), BILINEAR)))
    assert Resize(64)(photo(64, 64)).shape == (64, 64, 3)


@pytest.mark.parametrize(
    ("height", "width", "resized", "corner"),
    [
        (375, 500, (256, 341), (16, 58)),  # 341.33 is truncated; (341 - 224) / 2 = 58.5 rounds to even
        (500, 375, (341, 256), (58, 16)),
        (256, 256, (256, 256), (16, 16)),
        (100, 400, (256, 1024), (16, 400)),
        (333, 256, (333, 256), (54, 16)),  # 54.5 also rounds to even
    ],
)
def test_the_centre_of_the_shorter_side(height, width, resized, corner):
    image = photo(height, width)
    expected = np.asarray(Image.fromarray(image).resize(resized[::-1], BILINEAR))
    top, left = corner
    np.testing.assert_array_equal(CenterCrop(256, 224)(image), expected[top : top + 224, left : left + 224])


def test_random_boxes():
    """Areas are uniform in 0.08..1 where they fit, aspects log-uniform in 3/4..4/3, corners uniform."""
    rng = np.random.default_rng(0)
    boxes = np.array([random_box(rng, 300, 300) for _ in range(4000)])
    top, left, height, width = boxes.T
    assert np.all((top >= 0) & (left >= 0) & (top + height <= 300) & (left + width <= 300))
    area, aspect = height * width / 300**2, width / height
    assert 0.078 < area.min() < 0.1
    assert area.max() > 0.95
    assert area[area < 0.5].mean() == pytest.approx(0.29, abs=0.01)  # nearly all of these fit
    assert 0.74 < aspect.min() < 0.76
    assert 1.32 < aspect.max() < 1.35
    assert np.log(aspect).mean() == pytest.approx(0, abs=0.01)
    share = top[height < 290] / (300 - height[height < 290])
    assert share.mean() == pytest.approx(0.5, abs=0.02)
    assert random_box(rng, 10, 1000) == (0, 493, 10, 13)  # nothing fits: the centre, as wide as may be
    assert random_box(rng, 1000, 10) == (493, 0, 13, 10)
    assert random_box(rng, 1, 1) == (0, 0, 1, 1)


def test_a_crop_depends_on_its_place():
    image, crop = photo(50, 70), RandomResizedCrop(0, "proxy/crops", 24)
    one = crop(image, (3, 5))
    np.testing.assert_array_equal(one, crop(image, (3, 5)))
    others = [crop(image, (3, 6)), crop(image, (4, 5)), RandomResizedCrop(1, "proxy/crops", 24)(image, (3, 5))]
    assert not any(
        np.array_equal(one, other) for other in [*others, RandomResizedCrop(0, "retrain/crops", 24)(image, (3, 5))]
    )
    assert one.shape == (24, 24, 3)
