"""Additions to the program from outside the package: each is a record, put into its registry.

``tests/learners/test_sharpening.py`` adds a learner.
"""

import inspect
import re

import numpy as np
import pytest

from semiprune_jax import pipeline
from semiprune_jax.config import help, schema, validation
from semiprune_jax.data.sources import SOURCES, Source
from semiprune_jax.data.split import Dataset, Split
from semiprune_jax.errors import ConfigError
from semiprune_jax.models.networks import NETWORKS, Architecture
from semiprune_jax.report import figures
from semiprune_jax.select import scores
from semiprune_jax.select.selectors import SELECTORS
from semiprune_jax.stages import report
from semiprune_jax.stages.label import EXAMPLES
from semiprune_jax.stages.score import SCORES
from semiprune_jax.stages.stage import Stage
from semiprune_jax.workdir import artifacts, formats
from semiprune_jax.workdir.tasks import Outcome, Task
from tests import extension, small


def config(tmp_path, *names):
    made = small.config()
    made.data.path = small.write_npz(tmp_path / "pool.npz")
    made.select.names = names or ("semi_aum",)
    made.select.keep = (0.5,)
    return made


def test_a_score_and_a_selector(tmp_path, monkeypatch):
    """A function and a record each, 16 lines after the imports; the rest of the program finds the records."""
    body = inspect.getsource(extension).split("\n\n\n", 1)[1]
    assert sum(bool(line) for line in body.splitlines()) == 16
    monkeypatch.setitem(scores.SCORES, "swing", extension.SWING)
    monkeypatch.setitem(SELECTORS, "spaced", extension.SPACED)
    made = config(tmp_path, "mine", "other")
    made.select.mine = schema.selection(selector="spaced", score="swing", skipped=-2)
    made.select.other = schema.selection(selector="spaced", score="aum", skipped=3)
    made.retrain.epochs = 1
    made.search.cost = 0.0
    with pytest.raises(ConfigError, match=r"config\.select\.mine\.skipped = -2: expected -1 or more"):
        validation.validate(made)
    made.select.mine.skipped = -1
    validation.validate(made)
    assert "spaced: the number of hardest examples that are left out; -1: chosen by trials." in " ".join(
        help.of_topic("select").split()
    )

    work = tmp_path / "work"
    lines = small.run(made, work)
    found = next(line for line in lines if line.startswith("search/mine"))
    chosen = int(re.search(r"skipped ([48]) at 0\.5 of 2 trials", found)[1])
    spec = formats.read_json(work / "select/mine_keep0.50/spec.json")
    expected = {"name": "mine", "selector": "spaced", "score": "swing", "skipped": chosen, "keep": 0.5, "seed": 0}
    assert spec == expected | {"kept": 32, "of": 64, "pruned": 0.5}
    assert formats.read_json(work / "select/other_keep0.50/spec.json")["skipped"] == 3

    table = formats.read_table(work / "select/mine_keep0.50/coreset.parquet")
    p_label = formats.read_npz(work / "score/dynamics.npz")["p_label"]
    np.testing.assert_array_equal(table["swing"], p_label.max(axis=1) - p_label.min(axis=1))
    np.testing.assert_array_equal(table["score"], table["swing"])
    assert table["kept"].sum() == 32
    assert table["score"][table["kept"]].max() == np.sort(table["swing"])[63 - chosen]  # the hardest are left out

    page = (work / "report/index.html").read_text()
    assert f"<td>0.5: {chosen}</td>" in page
    coresets = {name: found for name, found in report.coresets(work, ("mine",)).items() if "score" in found["table"]}
    drawn = figures._scores(coresets)
    assert drawn.axes[0].get_xlabel() == "swing of p(label) (high: hard)"
    assert drawn.axes[0].lines[0].get_xdata()[0] == table["score"][table["kept"]].max()


def test_a_stage(tmp_path, monkeypatch):
    """A stage that ranks the pool by AUM into its own file: its record, and its place in the list."""
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
    assert set(formats.read_json(tmp_path / "work/rank/DONE.json")["identity"]["inputs"]) == {
        "score",
        "score/scores.parquet",
    }
    made.score.last = 3  # this changes the scores
    with pytest.raises(ConfigError, match=r"what it reads from 'score/scores\.parquet' changed"):
        small.run(made, tmp_path / "work", until="rank")


def test_a_source(tmp_path, monkeypatch):
    """A source of generated images: two functions and a record."""

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
    with pytest.raises(ConfigError, match=r"config\.data\.name = 'dots': expected stripes"):
        validation.validate(made)
    made.data.name = "stripes"
    validation.validate(made)
    lines = small.run(made, tmp_path / "work", until="label")
    assert "48 images, 3 classes, 12 labelled; 0 to test" in lines[0]


def test_a_network(tmp_path, monkeypatch):
    """The flax module of tests/tiny.py and a record: it makes pseudo-labels, records dynamics and is retrained."""
    made = config(tmp_path)
    made.model.ssl = made.model.proxy = made.model.retrain = "mine"
    with pytest.raises(ConfigError, match=r"config\.model\.ssl = 'mine': expected wrn_"):
        validation.validate(made)
    monkeypatch.setitem(NETWORKS, "mine", Architecture("tests.tiny", "Tiny", {"width": 12}))
    validation.validate(made)
    made.embed.source, made.select.names = "proxy", ("semi_aum", "k_centre")
    small.run(made, tmp_path / "work")
    assert formats.read_npz(tmp_path / "work/embed/embeddings.npz")["features"].shape == (64, 12)
    accuracy = formats.read_json(tmp_path / "work/retrain/semi_aum_keep0.50_seed0/result.json")["test_accuracy"]
    assert 0 <= accuracy <= 1
