"""Report: makes tables, figures and a page from the files of the stages and some images."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from semiprune_jax import report
from semiprune_jax.data.resize import Resize
from semiprune_jax.distributed import processes
from semiprune_jax.errors import ConfigError
from semiprune_jax.select import coreset, search
from semiprune_jax.stages import images, label
from semiprune_jax.stages.context import Context
from semiprune_jax.stages.label import CLASSES, EXAMPLES, ORACLE
from semiprune_jax.stages.pseudolabel import PSEUDOLABELS, QUALITY
from semiprune_jax.stages.retrain import result_of
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
    config, store, names = context.config, context.store, context.config.select.names
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
    )


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


def results(workdir: Path, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Every finished retraining's result by directory name, "full" first, then those of ``names``."""

    def read(task: str) -> dict[str, Any]:
        result = result_of(task)
        return result.load(workdir / result.path)

    return _finished(workdir, "retrain", ("full", *names), read)


def _finished(workdir: Path, stage: str, names: Sequence[str], read: Callable[[str], Any]) -> dict[str, Any]:
    """The value of ``read`` for each finished task, in the order of ``names``, then by decreasing kept fraction."""

    def rank(entry: tuple[str, Any]) -> tuple[int, str, float, int]:
        spec = entry[1].get("spec", entry[1])
        place = list(names).index(spec["name"]) if spec["name"] in names else len(names)
        return (place, spec["name"], -spec["keep"], spec.get("seed", 0))

    found = {path.name: read(f"{stage}/{path.name}") for path in tasks.directories(workdir, stage)}
    return dict(sorted(found.items(), key=rank))


STAGE = Stage("report", run, reads=lambda config: {"retrain"}, is_goal=lambda config: True)
