"""CIFAR-10: the paper's recipe for it (tables 7 to 9).

    python -m semiprune_jax.main --config=configs/cifar10.py --workdir=runs/cifar10 --config.data.path=DATA

DATA is a TFDS directory in which cifar10 was prepared as ArrayRecord (docs/data.md says how). Class folders work as
well: --config.data.source=folder --config.data.path=cifar10/train --config.data.test_path=cifar10/test.

Variants: ``:usb`` reads "100 epochs" as USB's 1,024 steps each (102,400 in all; here an epoch is 111 steps, a pass over
the pool), and ``:smoke`` quickly tries every stage.

Expected (the paper's tables 1 and 5): 95.4% of the pseudo-labels are right; test accuracy by pruned share:

                   30%   50%   70%   80%   90%
    semi_aum      95.4  95.2  93.1  91.3  87.2
    semi_dual     95.4  95.0  92.7  90.9  86.2
    random        94.4  93.2  90.5  88.3  83.7

The paper does not give the exponent and the c_D of its DUAL scores; this c_D is the DUAL paper's.

Hardware: one GPU; see ``plan``.
"""

from semiprune_jax.config import base_config, recipes


def get_config(variant: str = ""):
    config = base_config()
    config.data.source = "tfds"
    config.data.name = "cifar10"
    config.data.expected = (50_000, 10_000, 10)
    config.data.oracle = True
    config.score.last = 20  # SemiPrune's EL2N window
    return recipes.varied(config, variant, usb_steps=102_400)
