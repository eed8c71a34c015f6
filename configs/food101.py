"""Food-101 at 224 pixels: the paper's recipe for it (tables 7 to 9).

    python -m semiprune_jax.main --config=configs/food101.py --workdir=runs/food101 --config.data.path=DATA

DATA is a TFDS directory in which food101 was prepared as ArrayRecord (docs/data.md says how). The original archive
works with two tables: --config.data.source=folder --config.data.path= --config.data.labels=food-101/train.csv
--config.data.test_labels=food-101/test.csv, with the columns path,label (images/apple_pie/1005649.jpg,apple_pie).

Variants: ``:published`` takes the paper's cutoffs, horizon and c_D instead of choosing them by trials on the pool, and
holds no labels out; ``:smoke`` quickly tries every stage. FixMatch's "50 epochs" are read as passes over the pool;
``:usb`` reads them as USB's 1,024 steps each, which are fewer. Nothing is known of it: the authors' hours fit both.
Strong views here are cut from squares of 256 pixels; the authors' may keep the aspect ratio.

Expected (the paper's tables 1 and 2): 61.7% of the pseudo-labels are right; test accuracy by pruned share:

                   30%   50%   70%   80%   90%
    semi_aum      77.9  73.9  67.2  63.1  51.2
    semi_dual     77.9  73.4  66.3  62.2  51.8
    random        76.6  72.9  63.9  55.5  37.7

Hardware: a GPU that holds the squares (15 GB of images), or --config.data.cache on a local disk; FixMatch took the
authors 13.65 h on four RTX A6000 (table 15).
"""

from semiprune_jax.config import base_config, recipes


def get_config(variant: str = ""):
    config = base_config()
    config.data.source = "tfds"
    config.data.name = "food101"
    config.data.test_split = "validation"
    config.data.expected = (75_750, 25_250, 101)
    config.data.oracle = True
    config.model.proxy = config.model.retrain = "resnet18"
    recipes.large_images(config)
    recipes.imagenet_crops(config)
    config.ssl.steps = 59_150  # 50 passes of 1,183 steps
    published = recipes.Published((0.1, 0.3, 0.5, 0.6, 0.8), horizon=30, c_d=4.0)
    return recipes.varied(config, variant, passes=59_150, usb=51_200, published=published)
