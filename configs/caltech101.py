"""Caltech-101 at 224 pixels: the paper's recipe for it (tables 7 to 9).

    python -m semiprune_jax.main --config=configs/caltech101.py --workdir=runs/caltech101 \
        --config.data.path=101_ObjectCategories

The folder is the original one without BACKGROUND_Google, which is not a class. The run sets a fifth of each class apart
for testing.

Variants: ``:published`` takes the paper's cutoffs, horizon and c_D instead of choosing them by trials on the pool, and
holds no labels out; ``:smoke`` quickly tries every stage. Each class gives the same number of labels, as USB draws
them. FixMatch's "100 epochs" are read as USB's 1,024 steps each; nothing is known of it, and ``:passes`` reads them as
passes, a tenth as long.

Expected (the paper's tables 1 and 4): 52.6% of the pseudo-labels are right (61.7% in its table 12); test accuracy by
pruned share:

                   30%   50%   70%   80%   90%
    semi_aum      78.4  70.6  58.5  53.1  45.7
    semi_dual     79.0  70.7  58.8  53.9  46.8
    random        75.9  65.1  53.5  50.5  40.3

The horizon and c_D are those of the authors' scripts for true labels.

Hardware: one GPU.
"""

from semiprune_jax.config import base_config, recipes


def get_config(variant: str = ""):
    config = base_config()
    config.data.source = "folder"
    config.data.test_fraction = 0.2
    config.data.expected = (6_942, 1_735, 101)
    config.label.rule = "equal"
    config.data.oracle = True
    config.model.proxy = config.model.retrain = "resnet18"
    recipes.large_images(config)
    recipes.imagenet_crops(config)
    published = recipes.Published((0.0, 0.1, 0.4, 0.5, 0.6), horizon=50, c_d=4.0)
    return recipes.varied(config, variant, passes=10_800, usb=102_400, published=published)
