"""A folder of your own images: which of them to keep, or to label next.

Class folders, in which every image has a label; the run uses the labels of a random 10%:

    python -m semiprune_jax.main --config=configs/folder.py --workdir=runs/mine --config.data.path=photos/

Any folder, with a table of the labels that you have (columns path,label; a blank label is unknown):

    python -m semiprune_jax.main --config=configs/folder.py --workdir=runs/mine --config.data.path=photos/ \
        --config.data.labels=labels.csv --config.label.rule=given

A tenth of the labels is held out to judge the result (--config.label.held_out). Of a test set of your own
(--config.data.test_path) the run also reports the accuracy.

The run resizes images to 32x32. FixMatch's 102,400 steps take nine minutes at the 100,000 images a second of one H200,
and many hours on a CPU; there, start with --config.ssl.steps=1000 --config.ssl.ema_decay=0.98
--config.ssl.bn_momentum=0.98 --config.proxy.epochs=30 --config.retrain.epochs=30. A run warns at its start if averages
are too slow for its length, and its verdict says whether FixMatch was still improving at its end.
"""

from semiprune_jax.config import base_config, recipes


def get_config(variant: str = ""):
    config = base_config()
    config.data.source = "folder"
    config.select.keep = (0.5, 0.3, 0.2)
    return recipes.varied(config, variant)
