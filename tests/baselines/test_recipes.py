"""The paper's baselines, each a variant of any config: they run only the stages that they need."""

import re
import shutil

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from configs import cifar10
from semiprune_jax import pipeline
from semiprune_jax.augment import views
from semiprune_jax.config import recipes, validation
from semiprune_jax.features import extrapolation
from semiprune_jax.models import networks, pretrained
from semiprune_jax.stages import pseudolabel, search
from semiprune_jax.workdir import directory, formats
from tests import goldens, small

STAGES = ("pseudolabel", "score", "embed", "search")


def needed(config):
    return {stage.name for stage in pipeline.needed_stages(config)} & set(STAGES)


def made(root, name, **changes):
    config = small.config()
    config.data.path = small.write_npz(root / "pool.npz")
    config.select.semi_aum.cutoff = config.select.semi_forgetting.cutoff = config.select.semi_el2n.cutoff = (0.1,)
    recipes.baseline(config, name)
    config.select.keep, config.label.budget = (0.5,), 0.5
    config.temi.update({"heads": 2, "neighbours": 5, "epochs": 3, "batch_size": 32, "warm_up_epochs": 1})
    config.select.zcore.samples = 500
    config.swav.update({"network": "tiny", "epochs": 2, "batch_size": 32, "warm_up_epochs": 1, "frozen_steps": 2})
    if config.embed.source == "weights":
        config.embed.source, config.embed.path = "file", str(root / "mine.npy")
        np.save(root / "mine.npy", small.pool(64)[0].mean(axis=(1, 2)))
    for field, value in changes.items():
        config.update_from_flattened_dict({field.replace("__", "."): value})
    validation.validate(config)
    return config


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("random", ()),
        ("supervised", ("pseudolabel", "score")),
        ("prototypicality", ("embed",)),
        ("zcore", ("embed",)),
        ("extrapolation", ("score", "embed")),
        ("elfs", ("pseudolabel", "score", "embed", "search")),
        ("elfs_swav", ("pseudolabel", "score", "embed", "search")),
        ("semi_aum", ("pseudolabel", "score")),
        ("semi_dual", ("pseudolabel", "score")),
        ("ablation", ("pseudolabel", "score")),
    ],
)
def test_only_the_stages_that_are_needed(tmp_path, name, stages):
    config = made(tmp_path, name)
    assert needed(config) == set(stages)
    assert bool(search.searched_names(config)) == ("search" in stages)


def test_what_else_asks_for_a_stage(tmp_path):
    """A search of cutoffs trains on pseudo-labels; the proxy's embeddings need a proxy."""
    config = made(tmp_path, "extrapolation", data__oracle=True)
    assert "pseudolabel" not in needed(config)
    config.select.names = (*config.select.names, "ccs")
    assert "search" in needed(config)
    assert "pseudolabel" in needed(config)
    config = made(tmp_path, "zcore", data__oracle=True)
    assert "score" not in needed(config)
    config.embed.source = "proxy"
    order = [stage.name for stage in pipeline.needed_stages(config)]
    assert order == ["label", "pseudolabel", "score", "embed", "select", "retrain", "report"]


def test_published_scores_without_cutoffs_of_their_own_take_those_of_aum():
    config = cifar10.get_config("published,ablation")
    assert config.select.names == ("semi_aum", "semi_forgetting", "semi_el2n")
    for name in config.select.names:
        assert config.select[name].cutoff == (0.0, 0.0, 0.1, 0.2, 0.4)
    assert config.label.held_out == 0


@pytest.mark.parametrize("name", ["random", "zcore", "extrapolation", "elfs_swav"])
def test_one_of_each_family_from_images_to_report(tmp_path, monkeypatch, name):
    monkeypatch.setattr(extrapolation, "STEPS", 20)
    config = made(tmp_path, name)
    lines = small.run(config, tmp_path / "work")
    came_to = [line for line in lines if re.search(r"image, from swav, loss \d\.\d+ \(3\.401 by chance", line)]
    assert len(came_to) == (name == "elfs_swav")
    stages = {stage for stage in STAGES if (tmp_path / "work" / stage).exists()}
    assert stages == needed(config)
    selection = config.select.names[0]
    table = formats.read_table(tmp_path / f"work/select/{selection}_keep0.50/coreset.parquet")
    assert table["kept"].sum() == 32
    assert ("pseudo_label" in table) == ("pseudolabel" in stages)
    result = formats.read_json(tmp_path / f"work/retrain/{selection}_keep0.50_seed0/result.json")
    assert result["labels"] == "true labels"
    assert (tmp_path / "work/report/index.html").exists()
    again = small.run(config, tmp_path / "work")
    assert all("done before" in line for line in again if line.startswith(("label", *STAGES, "select", "retrain")))


def test_embeddings_by_weights_that_are_brought(tmp_path, monkeypatch):
    """A vision transformer of two blocks sees the pool's 8 pixels enlarged to 48."""
    monkeypatch.setitem(networks.PRETRAINED, "vit_s16", networks.vit(*goldens.VITS["vit_s16"]))
    with np.load(goldens.DIRECTORY / "pretrained_vit_s16.npz") as found:
        named = {
            str(key): goldens.named_weight(str(key), tuple(int(side) for side in shape.split(",")))
            for key, shape in zip(found["names"], found["shapes"], strict=True)
        }
    save_file(named, tmp_path / "w.safetensors")
    config = made(tmp_path, "zcore")
    config.embed.update({"source": "weights", "network": "vit_s16", "image_size": 48})
    config.embed.path = str(tmp_path / "w.safetensors")
    small.run(config, tmp_path / "work", until="select")
    features = formats.read_npz(tmp_path / "work/embed/embeddings.npz")["features"]
    apply, variables = pretrained.load("vit_s16", tmp_path / "w.safetensors")
    view = jax.vmap(views.enlarged_view(48), in_axes=(None, 0))
    expected = apply(variables, view(jax.random.key(0), small.pool(64)[0]))
    np.testing.assert_allclose(features, expected, atol=1e-3 * np.abs(expected).max())


def test_supervised_learns_nothing_it_was_told(tmp_path, monkeypatch):
    config = made(tmp_path, "supervised")
    monkeypatch.setattr(pseudolabel, "fixmatch", lambda *_, **__: pytest.fail("FixMatch"))
    small.run(config, tmp_path / "work", until="pseudolabel")
    table = formats.read_table(tmp_path / "work/pseudolabel/pseudolabels.parquet")
    np.testing.assert_array_equal(table["pseudo_label"], small.pool(64)[1])
    assert set(table["label_source"]) == {"budget"}


def test_clusters_read_no_label(tmp_path):
    """Clusters stay the same when the labels in the budget change."""
    config = made(tmp_path, "elfs", select__semi_aum__cutoff=(0.1,))
    lines = small.run(config, tmp_path / "one", until="pseudolabel")
    held = dict(np.load(config.data.path))
    np.savez(config.data.path, **held | {"y_train": np.roll(held["y_train"], 1)})
    small.run(config, tmp_path / "two", until="pseudolabel")
    one, two = (formats.read_table(tmp_path / w / "pseudolabel/pseudolabels.parquet") for w in ("one", "two"))
    np.testing.assert_array_equal(one["pseudo_label"], two["pseudo_label"])
    assert set(one["label_source"]) == {"clusters"}
    assert any("matched accuracy" in line for line in lines)


def test_without_the_truth_clusters_train_no_network(tmp_path):
    config = made(tmp_path, "elfs", select__semi_aum__cutoff=(0.1,), data__oracle=False)
    lines = small.run(config, tmp_path / "work")
    assert any("clusters have no names" in line for line in lines)
    assert not (tmp_path / "work" / "retrain").exists()
    assert (tmp_path / "work/select/semi_aum_keep0.50/to_label.txt").exists()


def test_scores_of_labelled_images_alone(tmp_path, monkeypatch):
    """The proxy sees the budget only; the graph extends its scores to the rest when coresets are chosen."""
    monkeypatch.setattr(extrapolation, "STEPS", 20)
    config = made(tmp_path, "extrapolation")
    work = tmp_path / "work"
    lines = small.run(config, work, until="select")
    assert any("proxy.bn_momentum = 0.9 still holds 43% " in line for line in lines)  # 8 steps: 32 images, 4 epochs
    known = formats.read_table(work / "examples.parquet")["label"] >= 0
    dynamics = formats.read_npz(work / "score/dynamics.npz")
    assert np.all(dynamics["p_label"][known] > 0)
    assert not np.any(dynamics["p_label"][~known])
    scores = formats.read_table(work / "score/scores.parquet")["dyn_unc"]
    np.testing.assert_array_equal(np.isnan(scores), ~known)
    table = formats.read_table(work / "select/extrapolated_keep0.50/coreset.parquet")
    np.testing.assert_array_equal(table["score"][known], scores[known])
    assert np.all(np.isfinite(table["score"]))


def test_an_overwritten_run_leaves_no_embeddings(tmp_path):
    config = made(tmp_path, "zcore")
    work = tmp_path / "work"
    small.run(config, work)
    shutil.copytree(work / "embed", work / "search")
    directory.open_workdir(work, overwrite=True)
    assert {path.name for path in work.iterdir()} == {"manifest.json"}
