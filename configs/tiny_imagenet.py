"""Tiny-ImageNet, as it comes: the recipe of the paper's corrupted one (tiny_imagenet_c.py) on clean images.

    python -m semiprune_jax.main --config=configs/tiny_imagenet.py --workdir=runs/tiny \
        --config.data.path=tiny-imagenet-200/train --config.data.test_path=tiny-imagenet-200/val

The folder is cs231n.stanford.edu/tiny-imagenet-200.zip, unpacked; the classes of val/ are read from its
val_annotations.txt.

After the name, ``:usb`` reads FixMatch's "50 epochs" (table 7; table 15 says 100) as USB's 1,024 steps each, and
``:smoke`` runs every stage in small. Images stay at 64 pixels, which the authors' accuracies suggest. The paper has
no numbers for the clean pool; the cutoffs, horizon and c_D are those of the corrupted one.

Hardware: one GPU.
"""

from semiprune_jax import recipes
from semiprune_jax.config import base_config


def get_config(variant: str = ""):
    config = base_config()
    config.data.source = "folder"
    config.data.expected = (100_000, 10_000, 200)
    config.data.oracle = True
    config.data.image_size = 64
    config.model.proxy = config.model.retrain = "resnet34"
    recipes.large_images(config)
    recipes.supervised(config, epochs=90, batch_size=256)
    config.fixmatch.batch_size = 128
    config.fixmatch.steps = 39_050  # 50 passes of 781 steps
    config.select.semi_aum.cutoff = (0.2, 0.4, 0.6, 0.7, 0.8)
    config.select.semi_dual.horizon = 50
    config.select.semi_dual.c_d = 3.0
    return recipes.varied(config, variant, usb_steps=51_200)
