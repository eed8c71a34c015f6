"""CIFAR-10: the paper's recipe for it (tables 7 to 9).

    python -m semiprune_jax.main --config=configs/cifar10.py --workdir=runs/cifar10 --config.data.path=DATA

DATA is a TFDS directory in which cifar10 was prepared as ArrayRecord (docs/data.md says how). Class folders work as
well: --config.data.source=folder --config.data.path=cifar10/train --config.data.test_path=cifar10/test.

Variants: ``:published`` takes the paper's cutoffs, horizon and c_D instead of choosing them by trials on the pool, and
holds no labels out; ``:smoke`` quickly tries every stage. FixMatch trains for 102,400 steps: the paper's "100 epochs"
are read as USB's 1,024 steps each. ``:passes`` reads them as passes over the pool, 11,100 steps, after which 84.6% of
the pseudo-labels were right, and 0.5 points more with each thousand steps.

Expected (the paper's tables 1 and 5): 95.4% of the pseudo-labels are right; test accuracy by pruned share:

                   30%   50%   70%   80%   90%
    semi_aum      95.4  95.2  93.1  91.3  87.2
    semi_dual     95.4  95.0  92.7  90.9  86.2
    random        94.4  93.2  90.5  88.3  83.7

The paper does not give the exponent and the c_D of its DUAL scores: trials choose both, and ``:published`` has the
DUAL paper's c_D and no exponent.

Hardware: one GPU; see ``plan``.
"""

from semiprune_jax.config import base_config, recipes


def get_config(variant: str = ""):
    config = base_config()
    config.data.source = "tfds"
    config.data.name = "cifar10"
    config.data.expected = (50_000, 10_000, 10)
    config.data.oracle = True
    recipes.cifar(config)
    config.score.last = 20  # SemiPrune's EL2N window
    config.select.semi_dual.exponent = -1.0  # the paper tunes it here
    published = recipes.Published((0.0, 0.0, 0.1, 0.2, 0.4), horizon=30, c_d=5.5)
    return recipes.varied(config, variant, passes=11_100, usb=102_400, published=published)
