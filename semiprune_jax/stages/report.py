"""Report: makes tables, figures and a page from the files of the stages and some images."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from semiprune_jax import report
from semiprune_jax.config.schema import Config
from semiprune_jax.config.selections import UNIFORM
from semiprune_jax.data.resize import Resize
from semiprune_jax.distributed import processes
from semiprune_jax.errors import ConfigError
from semiprune_jax.report import verdict
from semiprune_jax.report.verdict import Verdict
from semiprune_jax.select import coreset, search
from semiprune_jax.stages import images, judge, label, settings
from semiprune_jax.stages.context import Context
from semiprune_jax.stages.label import CLASSES, EXAMPLES, HELD_OUT, ORACLE
from semiprune_jax.stages.pseudolabel import PSEUDOLABELS, QUALITY
from semiprune_jax.stages.retrain import predictions_of, result_of
from semiprune_jax.stages.select import choice_of, spec_of
from semiprune_jax.stages.stage import Stage
from semiprune_jax.workdir import formats, tasks
from semiprune_jax.workdir.directory import record_config


def run(context: Context) -> None:
    """Writes the report of a run whose label stage is done; each call writes all of it again."""
    if not context.runner.record(label.task(context)).is_done():
        raise ConfigError(f"{context.workdir} holds nothing to report yet; run the stages first")
    if processes.is_lead_host():
        with context.runner.line("report") as line:
            table = report.write(context.workdir / "report", _contents(context))
            record_config(context.workdir, context.config.to_json())
            line.append(str(context.workdir / "report" / "index.html"))
        context.runner.log("\n" + table)
    processes.barrier("the report is written")


def _contents(context: Context) -> report.Contents:
    config, store, names = context.config, context.store, settings.selection_names(context.config)
    finished = coresets(context.workdir, names)
    return report.Contents(
        classes=tuple(store.load(CLASSES)),
        examples=store.load(EXAMPLES),
        pseudolabels=store.load_if_made(PSEUDOLABELS),
        truth=store.load(ORACLE)["label"] if config.data.oracle else None,
        coresets=finished,
        results=results(context.workdir, names),
        lines=context.metrics.lines(),
        quality=store.load_if_made(QUALITY),
        search=searched(context.workdir),
        same_images=coreset.same_images(context.workdir / "select" / name for name in finished),
        images=lambda ids: context.dataset.train.read(ids, Resize(images.sizes(config).square)),
        examples_per_row=config.report.examples,
        config=config.to_dict(),
        held_out=len(store.load(HELD_OUT)["id"]),
        verdict=_verdict(context),
    )


def _verdict(context: Context) -> Verdict | None:
    """The verdict of the held-out labels; None if there are none, or nothing that they could judge."""
    config, store = context.config, context.store
    held_out, guesses = store.load(HELD_OUT), store.load_if_made(PSEUDOLABELS)
    ids, labels, weight = (held_out[key] for key in ("id", "label", "weight"))
    if not len(ids) or guesses is None or config.pseudolabel.source == "clusters":
        return None
    stage = "judge" if judge.is_wanted(config) else "retrain"
    names = settings.selection_names(config)
    right: dict[tuple[str, float], list[np.ndarray]] = {}
    tested: dict[tuple[str, float], list[float]] = {}
    for task, result in results(context.workdir, names, stage).items():
        if result["name"] in names and store.exists(predictions_of(f"{stage}/{task}")):
            point = result["name"], result["keep"]
            right.setdefault(point, []).append(store.load(predictions_of(f"{stage}/{task}"))["prediction"] == labels)
            tested.setdefault(point, []).extend([result["test_accuracy"]] if "test_accuracy" in result else [])
    uniform = next(name for name in names if config.select[name].selector == UNIFORM)
    means = {point: np.mean(found, axis=0) for point, found in right.items()}
    truths = {point: float(np.mean(found)) for point, found in tested.items() if found}
    judged = verdict.judge(means, weight, uniform, truths)
    shares = verdict.accuracy(guesses["prediction"][ids] == labels, weight)
    rising = verdict.trend(context.metrics.lines("pseudolabel"), ("test_accuracy", "mask_rate"))
    known = store.load_if_made(QUALITY)
    words = verdict.in_words(shares, judged, rising, benchmark=config.data.oracle)
    return Verdict(shares, known["unlabelled"]["accuracy"] if known else None, judged, rising, words)


def searched(workdir: Path) -> dict[str, Any] | None:
    """The settings that searches have chosen and the cost of all, see ``search.summary``; None without a search."""
    fields = ("name", "trials", "steps", "seconds")
    parts = [formats.read_json(path / "chosen.json", *fields) for path in tasks.directories(workdir, "search")]
    return search.summary(parts) if parts else None


def coresets(workdir: Path, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Every finished coreset by directory name: {"spec": ..., "table": ...}; those of ``names`` first.

    Tables hold kept, bool[N], and score, f32[N], if the selection uses one.
    """

    def read(task: str) -> dict[str, Any]:
        spec, choice = spec_of(task), choice_of(task)
        return {"spec": spec.load(workdir / spec.path), "table": choice.load(workdir / choice.path)}

    return _finished(workdir, "select", names, read)


def results(workdir: Path, names: Sequence[str], stage: str = "retrain") -> dict[str, dict[str, Any]]:
    """Every finished retraining's result by directory name, "full" first, then those of ``names``."""

    def read(task: str) -> dict[str, Any]:
        result = result_of(task)
        return result.load(workdir / result.path)

    return _finished(workdir, stage, ("full", *names), read)


def _finished(workdir: Path, stage: str, names: Sequence[str], read: Callable[[str], Any]) -> dict[str, Any]:
    """The value of ``read`` for each finished task, in the order of ``names``, then by decreasing kept fraction."""

    def rank(entry: tuple[str, Any]) -> tuple[int, str, float, int]:
        spec = entry[1].get("spec", entry[1])
        place = list(names).index(spec["name"]) if spec["name"] in names else len(names)
        return (place, spec["name"], -spec["keep"], spec.get("seed", 0))

    found = {path.name: read(f"{stage}/{path.name}") for path in tasks.directories(workdir, stage)}
    return dict(sorted(found.items(), key=rank))


def _reads(config: Config) -> set[str]:
    return {"retrain", "judge"} if judge.is_wanted(config) else {"retrain"}


STAGE = Stage("report", run, _reads, is_goal=lambda config: True)
