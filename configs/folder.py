"""A folder of your own images: which of them to keep, or to label next.

Class folders, in which every image has a label; the run uses the labels of a random 10%:

    python -m semiprune_jax.main --config=configs/folder.py --workdir=runs/mine --config.data.path=photos/

Any folder, with a table of the labels that you have (columns path,label; a blank label is unknown):

    python -m semiprune_jax.main --config=configs/folder.py --workdir=runs/mine --config.data.path=photos/ \
        --config.data.labels=labels.csv --config.label.rule=given

The run resizes images to 32x32. With 10,000 images the defaults take about an hour on one GPU; on a CPU start with
--config.ssl.steps=1000 --config.ssl.ema_decay=0.98 --config.ssl.bn_momentum=0.98 --config.proxy.epochs=30
--config.retrain.epochs=30. A run warns at its start if averages are too slow for its length.
"""

from semiprune_jax.config import base_config, recipes


def get_config(variant: str = ""):
    config = base_config()
    config.data.source = "folder"
    config.data.test_fraction = 0.2  # of the labelled images, to test the retrained networks on
    config.select.keep = (0.3, 0.1)
    config.select.semi_aum.cutoff = (0.1, 0.4)
    config.select.ccs.cutoff = (0.1, 0.3)
    return recipes.varied(config, variant)
