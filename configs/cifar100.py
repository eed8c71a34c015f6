"""CIFAR-100: the paper's recipe for it (tables 7 to 9).

    python -m semiprune_jax.main --config=configs/cifar100.py --workdir=runs/cifar100 --config.data.path=DATA

DATA is a TFDS directory in which cifar100 was prepared as ArrayRecord (docs/data.md says how); class folders work as in
cifar10.py.

Variants: ``:usb`` reads "100 epochs" as USB's 1,024 steps each (102,400 in all; here an epoch is 111 steps, a pass over
the pool), and ``:smoke`` quickly tries every stage. USB's own config has WRN-28-2 here; the paper says WRN-28-8.

Expected (the paper's tables 1 and 5): 81.0% of the pseudo-labels are right; test accuracy by pruned share:

                   30%   50%   70%   80%   90%
    semi_aum      77.4  73.5  67.7  63.1  53.9
    semi_dual     77.1  73.8  67.3  62.9  53.1
    random        75.2  71.7  64.9  59.2  45.1

Hardware: one GPU. FixMatch took the authors 2.05 h on an RTX A6000 (table 15).
"""

from semiprune_jax.config import base_config, recipes


def get_config(variant: str = ""):
    config = base_config()
    recipes.cifar100(config)
    config.select.semi_aum.cutoff = (0.1, 0.2, 0.4, 0.6, 0.7)
    return recipes.varied(config, variant, usb_steps=102_400)
