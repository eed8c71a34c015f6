"""Additions to the program from outside the package: each is a record and the registry that holds it.

Of a score and a selector: ``tests/select/test_search.py``; of a learner: ``tests/learners/test_sharpening.py``.
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from semiprune_jax import pipeline
from semiprune_jax.config import validation
from semiprune_jax.data.sources import SOURCES, Source
from semiprune_jax.data.split import Dataset, Split
from semiprune_jax.models.batch_norm import BatchNorm
from semiprune_jax.models.networks import NETWORKS, Architecture
from semiprune_jax.stages.label import EXAMPLES
from semiprune_jax.stages.score import SCORES
from semiprune_jax.stages.stage import Stage
from semiprune_jax.workdir import artifacts, formats
from semiprune_jax.workdir.tasks import Outcome, Task
from tests import small


def config(tmp_path, *names):
    made = small.config()
    made.data.path = small.write_npz(tmp_path / "pool.npz")
    made.select.names = names or ("semi_aum",)
    made.select.keep = (0.5,)
    return made


def test_a_stage(tmp_path, monkeypatch):
    """One that ranks the pool by AUM into a file of its own: its record, and its place among the stages."""
    ranking = artifacts.lines("rank/ranking.txt", "rank")

    def run(context):
        def work(inputs):
            keys, aum = inputs[EXAMPLES]["key"], inputs[SCORES]["aum"]
            return Outcome({ranking: [keys[i] for i in np.argsort(aum)]}, f"{len(keys)} ranked")

        context.runner.run(Task("rank", {}, (EXAMPLES, SCORES), work))

    stage = Stage("rank", run, reads=lambda config: {"score"}, is_goal=lambda config: True)
    monkeypatch.setattr(pipeline, "STAGES", (*pipeline.STAGES, stage))
    made = config(tmp_path, "random")  # no selection needs a score; the new stage does
    lines = small.run(made, tmp_path / "work", until="rank")
    done = [line.split()[0] for line in lines if not line.startswith("warning")]
    assert done[:4] == ["label", "pseudolabel", "score", "select/random"]
    assert lines[-1].startswith("rank")
    scores = formats.read_table(tmp_path / "work/score/scores.parquet")
    expected = [scores["key"][i] for i in np.argsort(scores["aum"])]
    assert (tmp_path / "work/rank/ranking.txt").read_text().split() == expected
    assert small.run(made, tmp_path / "work", until="rank")[-1].split()[1] == "done"
    assert set(formats.read_json(tmp_path / "work/rank/DONE.json")["identity"]["inputs"]) == {"score"}


def test_a_source(tmp_path, monkeypatch):
    """Stripes, made when they are read: two functions and a record."""

    def load(options, notes):
        del options, notes
        images, labels = small.pool(48)
        keys = [f"stripe{i:02d}" for i in range(48)]
        train = Split(keys, labels, "stripes", "stripes", images.__getitem__)
        return Dataset(("ant", "bee", "cat"), train, None)

    def check(options):
        if options.name != "stripes":
            yield "name", "stripes"

    monkeypatch.setitem(SOURCES, "stripes", Source(load, check))
    made = small.config()
    made.data.source, made.data.name = "stripes", "dots"
    with pytest.raises(validation.ConfigError, match=r"config\.data\.name = 'dots': expected stripes"):
        validation.validate(made)
    made.data.name = "stripes"
    validation.validate(made)
    lines = small.run(made, tmp_path / "work", until="label")
    assert "48 images, 3 classes, 12 labelled; 0 to test" in lines[0]


class Linear(nn.Module):
    """A linear classifier of normalised pixels; with the fields that every network has."""

    num_classes: int
    width: int
    bn_momentum: float = 0.9
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x, *, train, mask=None, axis_name=None):
        x = BatchNorm(self.bn_momentum)(x, train=train, mask=mask, axis_name=axis_name)
        features = nn.relu(nn.Dense(self.width)(x.reshape(len(x), -1)))
        return nn.Dense(self.num_classes)(features), features


def test_a_network(tmp_path, monkeypatch):
    """It makes pseudo-labels, records dynamics and is retrained: a flax module and a record."""
    made = config(tmp_path)
    made.model.ssl = made.model.proxy = made.model.retrain = "linear"
    with pytest.raises(validation.ConfigError, match=r"config\.model\.ssl = 'linear': expected wrn_"):
        validation.validate(made)
    monkeypatch.setitem(NETWORKS, "linear", Architecture(__name__, "Linear", {"width": 12}))
    validation.validate(made)
    made.embed.source, made.select.names = "proxy", ("semi_aum", "k_centre")
    small.run(made, tmp_path / "work")
    assert formats.read_npz(tmp_path / "work/embed/embeddings.npz")["features"].shape == (64, 12)
    accuracy = formats.read_json(tmp_path / "work/retrain/semi_aum_keep0.50_seed0/result.json")["test_accuracy"]
    assert 0 <= accuracy <= 1
