"""Tiny-ImageNet as published: the recipe of the paper's corrupted version (tiny_imagenet_c.py), on clean images.

    python -m semiprune_jax.main --config=configs/tiny_imagenet.py --workdir=runs/tiny \
        --config.data.path=tiny-imagenet-200/train --config.data.test_path=tiny-imagenet-200/val

The folder is cs231n.stanford.edu/tiny-imagenet-200.zip, unpacked; the classes of val/ are read from its
val_annotations.txt.

Variants: ``:published`` takes the paper's cutoffs, horizon and c_D instead of choosing them by trials on the pool, and
holds no labels out; ``:smoke`` quickly tries every stage. FixMatch's "50 epochs" (table 7; table 15 says 100) are read
as USB's 1,024 steps each; ``:passes`` reads them as passes over the pool, which are fewer. Nothing is known of it.
Images stay at 64 pixels, as the authors' accuracies suggest. The paper has no numbers for the clean pool; the cutoffs,
the horizon and c_D are those of the corrupted pool.

Hardware: one GPU.
"""

from semiprune_jax.config import base_config, recipes


def get_config(variant: str = ""):
    config = base_config()
    recipes.tiny_imagenet(config)
    return recipes.varied(config, variant, passes=39_050, usb=51_200, published=recipes.TINY_IMAGENET)
