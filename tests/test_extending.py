"""What it takes to add to the program from outside the package: a record each, and the place where it is registered."""

import numpy as np
import pytest

from semiprune_jax import pipeline
from semiprune_jax.config import validation
from semiprune_jax.data.sources import SOURCES, Source
from semiprune_jax.data.split import Dataset, Split
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
