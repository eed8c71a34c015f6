"""scikit-learn's handwritten digits: every stage on real images, on a laptop, with nothing to download.

    python -m semiprune_jax.main --config=configs/digits.py --workdir=runs/digits

The pool has 1,437 images of 8x8 pixels, 143 of them labelled; 360 others are for testing. A run takes two and a
half minutes on two cores; docs/experiments.md has the results. ``configs/digits.py:smoke`` is a short version of it.
"""

from semiprune_jax.config import base_config, recipes


def get_config(variant: str = ""):
    config = base_config()
    config.data.source = "digits"
    config.data.image_size = 8
    config.data.mean = (0.305, 0.305, 0.305)
    config.data.std = (0.377, 0.377, 0.377)
    config.data.flip = False  # a mirrored digit is another digit, or none
    config.data.oracle = True

    config.model.ssl = "wrn_10_1"  # three blocks of 16, 32 and 64 channels
    config.model.proxy = "resnet8"
    config.model.retrain = "resnet8"

    config.ssl.steps = 1000
    config.ssl.batch_size = 32
    config.ssl.ema_decay = 0.98  # the paper's 0.999 would still remember the first step
    config.ssl.bn_momentum = 0.95
    config.ssl.eval_every_steps = 200

    config.proxy.epochs = 30
    config.proxy.eval_every_epochs = 10

    config.select.keep = (0.3, 0.1)
    config.search.cost = 2.0  # retrainings are short, and half of one would say little

    config.select.zcore.samples = 10_000  # seven for each image; ZCore's million take longer than all the rest
    # TEMI on the pixels puts 67% of the images into clusters that match their class, in 78 s.
    config.temi.heads = 8
    config.temi.neighbours = 20
    config.temi.epochs = 100
    config.temi.batch_size = 256
    config.temi.learning_rate = 1e-3
    config.temi.warm_up_epochs = 5
    config.temi.teacher_decay = 0.99

    # TEMI on SwAV's embeddings reaches 63%.
    config.swav.network = "resnet8"
    config.swav.epochs = 200
    config.swav.batch_size = 256
    config.swav.frozen_steps = 50

    config.retrain.epochs = 30
    config.retrain.seeds = (0, 1, 2)
    config.retrain.full = True
    config.retrain.labelled_only = True
    return recipes.varied(config, variant)
