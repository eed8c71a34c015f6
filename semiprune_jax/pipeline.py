"""The method, stage by stage: label, pseudolabel, score, (embed,) select, retrain, report.

A finished stage is skipped, an unfinished one resumes. What a stage hands on lies in its directory as files.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from semiprune_jax import (
    artifacts,
    coreset,
    datasets,
    embeddings,
    guards,
    images,
    preemption,
    processes,
    report,
    scores,
    selection,
)
from semiprune_jax import config as configs
from semiprune_jax.config import Config
from semiprune_jax.datasets.budget import draw
from semiprune_jax.datasets.geometry import Square
from semiprune_jax.errors import ConfigError, DataError
from semiprune_jax.metrics import Metrics
from semiprune_jax.pools import Pools
from semiprune_jax.quality import pseudo_label_quality
from semiprune_jax.stage import Stage, verify
from semiprune_jax.training import Trainings
from semiprune_jax.workdir import Handover, record_config, record_start


def run(config: Config, workdir: Path, *, until: str = "report", log: Callable[[str], None] = print) -> None:
    """Runs the stages up to and including ``until``, each at most once per work directory."""
    pipeline = Pipeline(config, workdir, log)
    try:
        for stage in pipeline.stages():
            if stage == until:
                return
    finally:
        pipeline.close()


def remake_report(config: Config, workdir: Path, *, log: Callable[[str], None] = print) -> None:
    """The report alone, of a run that has come as far as scores."""
    verify(workdir)
    pipeline = Pipeline(config, workdir, log)
    try:
        pipeline.report()
    finally:
        pipeline.close()


_DONE_BEFORE = "done before"
# Fields of config.data: where images lie and how many there should be, which changes nothing, and how stages view them.
_PLACES = ("path", "labels", "test_path", "test_labels", "pool", "cache", "expected", "follow_links")
_VIEWS = ("mean", "std", "padding", "flip", "crops", "square_size")


class Outcome(NamedTuple):
    """What a stage's work comes to."""

    files: list[Path]  # that later stages depend on
    summary: str


class Subset(NamedTuple):
    """Examples to retrain on."""

    name: str  # of the selection, or "full", "labelled_only"
    directory: str  # of its retrainings, less the seed
    keep: float
    kept: Callable[[], np.ndarray]  # bool[N]
    digest: str


class Pipeline:
    """The stages of one run. Each method takes the stages it reads from and returns its own, done."""

    def __init__(self, config: Config, workdir: Path, log: Callable[[str], None] = print):
        self.config, self.workdir = config, workdir
        self._log = log if processes.leads() else lambda line: None
        self._metrics = Metrics(workdir, config.report.wandb_project)
        self._given = Handover(workdir, oracle=config.data.oracle)

    def stages(self) -> Iterator[str]:
        """The method: runs stage after stage, and yields the name of each when it is done."""
        label = self.label()
        yield "label"
        self._warn()
        pseudolabel = self.pseudolabel(label)
        yield "pseudolabel"
        score = self.score(pseudolabel)
        yield "score"
        coresets = self.select(score, self.embed(pseudolabel, score))
        yield "select"
        self.retrain(coresets, pseudolabel)
        yield "retrain"
        self.report()
        yield "report"

    def close(self) -> None:
        """Ends what is open."""
        self._metrics.close()

    # The stages.

    def label(self) -> Stage:
        """Draws the label budget, once. Writes examples.parquet, and oracle.parquet if the config asks for it."""
        stage, pool, test = self._label_stage(), self._dataset.train, self._dataset.test

        def work() -> Outcome:
            labels = self._draw_labels()
            ids, keys = np.arange(len(labels)), list(pool.keys)
            files = [self.workdir / "examples.parquet", stage.directory / "classes.json"]
            artifacts.write_table(files[0], {"id": ids, "key": keys, "label": labels})
            artifacts.write_json(files[1], list(self._dataset.classes))
            if self.config.data.oracle:
                files.append(self.workdir / "oracle.parquet")
                artifacts.write_table(files[2], {"id": ids, "key": keys, "label": pool.labels})
            counts = f"{len(labels):,} images, {len(self._dataset.classes)} classes, {np.sum(labels >= 0):,} labelled"
            counts += f"; {len(test.keys) if test else 0:,} to test"
            if self._dataset.corruption is not None:
                files.append(stage.directory / "corruption.parquet")
                names = np.array(["", *datasets.KINDS])[self._dataset.corruption + 1]
                artifacts.write_table(files[-1], {"id": ids, "key": keys, "corruption": names})
            if self.config.data.skip_bad:
                files.append(stage.directory / "skipped.json")
                artifacts.write_json(files[-1], [entry._asdict() for entry in self._dataset.skipped])
                counts += f"; {len(self._dataset.skipped):,} skipped"
            return Outcome(files, counts)

        self._do(stage, work)
        record_start(self.workdir, self.config.to_json(), oracle=self.config.data.oracle)
        return stage

    def pseudolabel(self, label: Stage) -> Stage:
        """FixMatch, then a label and a confidence for every example; known labels stay as they are."""
        stage = self._stage(
            "pseudolabel",
            self._network_settings("fixmatch", self.config.fixmatch, "eval_every_steps") | {"seed": self.config.seed},
            {"label": label.digest},
        )

        def work() -> Outcome:
            labels = self._given.examples["label"]
            found = self._trainings.fixmatch(stage.name, labels)
            table = {
                "id": np.arange(len(labels)),
                "key": self._given.examples["key"],
                "pseudo_label": np.where(labels >= 0, labels, found["prediction"]),
                "label_source": np.where(labels >= 0, "budget", "fixmatch"),
                **found,
            }
            files = [stage.directory / "pseudolabels.parquet"]
            artifacts.write_table(files[0], table)
            if self._given.truth is None:
                return Outcome(files, f"mean confidence {found['confidence'].mean():.3f}")
            quality = self._measure(found["prediction"], labels < 0)
            files.append(stage.directory / "quality.json")
            artifacts.write_json(files[1], quality)
            shown = ", ".join(f"{100 * values['accuracy']:.1f}% on the {part}" for part, values in quality.items())
            return Outcome(files, f"accuracy {shown}")

        return self._do(stage, work)

    def score(self, pseudolabel: Stage) -> Stage:
        """Trains the proxy on all pseudo-labels, recording dynamics, and scores every example."""
        stage = self._stage(
            "score",
            self._network_settings("proxy", self.config.proxy, "eval_every_epochs") | {"seed": self.config.seed},
            {"pseudolabel": pseudolabel.digest},
        )

        def work() -> Outcome:
            record = self._trainings.proxy(stage.name, self._given.pseudolabels["pseudo_label"].astype(np.int32))
            path = stage.directory / "dynamics.npz"
            artifacts.write_npz(path, record)
            megabytes = sum(value.nbytes for value in record.values()) / 1e6
            return Outcome([path], f"{self.config.proxy.epochs} epochs, {megabytes:.1f} MB of dynamics")

        self._do(stage, work)
        # A view of the dynamics, cheap and always up to date with config.score: re-scoring doesn't retrain.
        self._write_scores(stage.directory / "scores.parquet")
        processes.wait("scores are written")
        return stage

    def embed(self, pseudolabel: Stage, score: Stage) -> Stage | None:
        """Embeddings of the pool, if a selection goes by them: of a network of this run, or a file that is brought."""
        options = self.config.embed
        if not any(selection.sees_features(self.config.select[name].selector) for name in self.config.select.names):
            return None
        path = Path(options.path)
        if options.source == "file" and not path.is_file():
            raise DataError(f"embed.path = {options.path!r} is not a file; name one that holds the pool's embeddings")
        reads: dict[str, Callable[[], dict[str, str]]] = {
            "fixmatch": lambda: {"pseudolabel": pseudolabel.digest},
            "proxy": lambda: {"score": score.digest},
            "file": lambda: {"file": artifacts.hash_file(path)},
        }
        stage = self._stage("embed", {"embed": {"source": options.source}}, reads[options.source]())

        def work() -> Outcome:
            if options.source == "file":
                made = {"features": embeddings.read(path, list(self._given.examples["key"]))}
            else:
                made = self._trainings.embed(options.source)
            file = stage.directory / "embeddings.npz"
            artifacts.write_npz(file, made)
            return Outcome([file], f"{made['features'].shape[1]:,} numbers an image, from {options.source}")

        return self._do(stage, work)

    def select(self, score: Stage, embed: Stage | None) -> list[Stage]:
        """Every named selection at every kept fraction: a coreset each."""
        coresets: list[Stage] = []
        for name in self.config.select.names:
            with self._line(f"select/{name}") as line:
                coresets += [self._coreset(name, keep, score, embed, line) for keep in self.config.select.keep]
        for names in coreset.alike([stage.directory for stage in coresets]):
            self._log(f"note: {' and '.join(names)} keep the same images")
        return coresets

    def retrain(self, coresets: list[Stage], pseudolabel: Stage) -> None:
        """Trains a fresh network on each coreset with each seed and tests it."""
        known = self._given.examples["label"] >= 0
        subsets: list[Subset] = []
        if self.config.retrain.full:
            subsets.append(Subset("full", "full", 1.0, lambda: np.ones(len(known), bool), pseudolabel.digest))
        if self.config.retrain.labelled_only:
            # By the recipe of a coreset of that size.
            share = float(f"{known.mean():.2g}")
            subsets.append(Subset("labelled_only", "labelled_only", share, lambda: known, pseudolabel.digest))
        for stage in coresets:
            spec = artifacts.read_json(stage.directory / "spec.json")

            def kept(path: Path = stage.directory / "coreset.parquet") -> np.ndarray:
                return artifacts.read_table(path)["kept"]

            subsets.append(Subset(spec["name"], stage.name.removeprefix("select/"), spec["keep"], kept, stage.digest))
        for subset in subsets:
            with self._line(f"retrain/{subset.directory}") as line:
                for seed in self.config.retrain.seeds:
                    self._retrain_one(subset, seed, line)

    def report(self) -> None:
        """Tables, figures and a page, from what lies in the work directory; made anew each time."""
        if not self._label_stage().is_done():
            raise ConfigError(f"{self.workdir} holds nothing to report yet; run the stages first")
        if not processes.leads():
            return processes.wait("the report is written")
        given, names = self._given, self.config.select.names
        with self._line("report") as line:
            table = self._write_report(given, names)
            record_config(self.workdir, self.config.to_json())
            line.append(str(self.workdir / "report" / "index.html"))
        self._log("\n" + table)
        return processes.wait("the report is written")

    # Their parts.

    def _write_report(self, given: Handover, names: tuple[str, ...]) -> str:
        coresets = given.coresets(names)
        return report.write(
            self.workdir / "report",
            report.Contents(
                classes=given.classes,
                examples=given.examples,
                pseudolabels=given.pseudolabels,
                truth=given.truth,
                coresets=coresets,
                results=given.results(names),
                lines=self._metrics.lines(),
                quality=given.quality,
                alike=coreset.alike(self.workdir / "select" / name for name in coresets),
                images=lambda ids: self._dataset.train.read(ids, Square(images.sizes(self.config).square)),
                examples_a_row=self.config.report.examples,
                config=self.config.to_dict(),
            ),
        )

    def _warn(self) -> None:
        """Says at the start what would only show at the end: averages too slow for the run."""
        config, n = self.config, len(self._given.examples["label"])
        shortest = min(
            math.ceil(selection.coreset_size(n, keep) / self._retrain_batch(keep)) for keep in config.select.keep
        )
        averages = (  # stage, section and field, steps, of what
            ("pseudolabel", "fixmatch", "ema_decay", config.fixmatch.steps, "weights"),
            ("pseudolabel", "fixmatch", "bn_momentum", config.fixmatch.steps, "batch statistics"),
            ("score", "proxy", "bn_momentum", config.proxy.epochs * math.ceil(n / config.proxy.batch_size),
             "batch statistics"),
            ("retrain", "retrain", "bn_momentum", config.retrain.epochs * shortest, "batch statistics"),
        )  # fmt: skip
        for stage, section, field, steps, of in averages:
            warning = guards.slow_average(f"{section}.{field}", config[section][field], steps, of)
            if warning and not any(self.workdir.glob(f"{stage}/**/DONE.json")):
                self._log(f"warning: {warning}")

    def _label_stage(self) -> Stage:
        pool, test = self._dataset.train, self._dataset.test
        return self._stage(
            "label",
            {
                # Neither paths nor how images are viewed.
                "data": configs.settings(self.config.data, *_PLACES, *_VIEWS, "supervised_crops"),
                "label": configs.settings(self.config.label),
                "seed": self.config.seed,
            },
            {"pool": pool.content, "test": test.content if test else "", "classes": "\n".join(self._dataset.classes)},
        )

    def _draw_labels(self) -> np.ndarray:
        """i32[N], -1 outside the budget."""
        pool, label, classes = self._dataset.train, self.config.label, self._dataset.classes
        if self.config.data.oracle and np.any(pool.labels < 0):
            raise DataError(
                f"data.oracle=True needs every label, but {int(np.sum(pool.labels < 0))} are unknown; set it to False"
            )
        for keep in self.config.select.keep:
            try:
                selection.coreset_size(len(pool.keys), keep)
            except ValueError as error:
                raise ConfigError(f"config.select.keep: {error}") from None
        try:
            known = draw(label.rule, pool.labels, pool.keys, label.budget, self.config.seed)
        except ValueError as error:
            raise DataError(str(error)) from None
        labels = np.full(len(pool.keys), -1, np.int32)
        labels[known] = pool.labels[known]
        absent = [name for c, name in enumerate(classes) if not np.any(labels == c)]
        if absent:
            raise DataError(
                f"{len(absent)} of {len(classes)} classes have no labelled example ({', '.join(absent[:5])}); "
                "label some of each, raise label.budget, or draw with label.rule=per_class"
            )
        return labels

    def _measure(self, predicted: np.ndarray, unlabelled: np.ndarray) -> dict[str, dict[str, float]]:
        """Quality of the predictions on the unlabelled part and on the whole pool; also into the metrics."""
        truth, quality = self._given.truth, {}
        assert truth is not None
        for part, rows in (("unlabelled", unlabelled), ("pool", np.ones(len(truth), bool))):
            if np.any(rows):
                values = pseudo_label_quality(predicted[rows], truth[rows], len(self._given.classes))
                quality[part] = values
                named = {f"{part}_{key}": value for key, value in values.items()}
                self._metrics.write("pseudolabel", self.config.fixmatch.steps, named)
        return quality

    def _write_scores(self, path: Path) -> None:
        """Every score by name, over all recorded epochs."""
        options, dynamics = configs.settings(self.config.score), self._given.dynamics
        columns = {
            name: scores.compute(name, dynamics, options) for name in scores.SCORES if scores.recorded(name, dynamics)
        }
        keys = self._given.examples["key"]
        artifacts.write_table(path, {"id": np.arange(len(keys)), "key": keys, **columns})

    def _coreset(self, name: str, keep: float, score: Stage, embed: Stage | None, line: list[str]) -> Stage:
        options = configs.settings(self.config.select[name]) | configs.settings(self.config.score)
        if "cutoff" in selection.parameters(options["selector"]):
            options["cutoff"] = configs.cutoff_at(self.config.select[name], self.config.select.keep, keep)
        spec = coreset.relevant(options | {"name": name, "keep": keep, "seed": self.config.seed})
        featured = embed if selection.sees_features(options["selector"]) else None
        inputs = {"score": score.digest} | ({"embed": featured.digest} if featured else {})
        stage = self._stage(f"select/{name}_keep{coreset.keep_text(keep)}", spec, inputs)

        def work() -> Outcome:
            given, keys = self._given, list(self._given.examples["key"])
            classes, made = given.pseudolabels["pseudo_label"], given.embeddings if featured else None
            own_score, kept = coreset.choose(spec, given.dynamics, keys, classes, made)
            columns = {
                "id": np.arange(len(keys)),
                "key": keys,
                "label": given.examples["label"],
                **{key: given.pseudolabels[key] for key in ("pseudo_label", "confidence", "label_source")},
                **{key: column for key, column in given.scores.items() if key not in ("id", "key")},
            }
            files = coreset.write(stage.directory, spec, columns, own_score, kept)
            return Outcome(files, f"{kept.sum():,} at {coreset.keep_text(keep)}")

        return self._do(stage, work, line)

    def _retrain_one(self, subset: Subset, seed: int, line: list[str]) -> None:
        options, truth = self.config.retrain, self._given.truth
        batch_size = self._retrain_batch(subset.keep)
        not_of_one = ("seeds", "full", "labelled_only", "save_model", "batch_rule", "batch_size", "eval_every_epochs")
        settings = self._network_settings("retrain", options, *not_of_one)
        source = "pseudo-labels" if truth is None else "true labels"
        stage = self._stage(
            f"retrain/{subset.directory}_seed{seed}",
            settings | {"batch_size": batch_size, "labels": source, "seed": seed},
            {"subset": subset.digest},
        )

        def work() -> Outcome:
            ids = np.flatnonzero(subset.kept())
            labels = self._given.pseudolabels["pseudo_label"].astype(np.int32) if truth is None else truth
            tested = self._trainings.retrain(stage.name, labels, ids, batch_size=batch_size, seed=seed)
            steps = options.epochs * -(-len(ids) // batch_size)
            result = {
                "name": subset.name,
                "keep": subset.keep,
                "seed": seed,
                "examples": len(ids),
                "batch_size": batch_size,
                "steps": steps,
                "labels": source,
                **tested,
            }
            artifacts.write_json(stage.directory / "result.json", result)
            accuracy = f"{100 * tested['test_accuracy']:.1f}%" if tested else "no test set"
            shown = accuracy if line else f"{len(ids):,} images, {steps:,} steps: {accuracy}"
            return Outcome([stage.directory / "result.json"], shown)

        self._do(stage, work, line)

    def _retrain_batch(self, keep: float) -> int:
        return configs.paper_batch_size(self.config.retrain.batch_size, keep, self.config.retrain.batch_rule)

    def _network_settings(self, name: str, options: Config, *without: str) -> dict[str, Any]:
        """What a training depends on: its options less those named, its network, and how it sees images."""
        data = configs.settings(self.config.data)
        views = (*_VIEWS, "supervised_crops") if name != "fixmatch" else _VIEWS
        return {
            name: configs.settings(options, *without),
            "network": self.config.model[name],
            "wide_resnet": self.config.model.wide_resnet,
            "data": {key: data[key] for key in views},
        }

    def _stage(self, name: str, settings: dict[str, Any], inputs: dict[str, str]) -> Stage:
        return Stage(self.workdir, name, version=1, settings=settings, inputs=inputs)

    def _do(self, stage: Stage, work: Callable[[], Outcome], line: list[str] | None = None) -> Stage:
        """Does the stage's work, unless it is done; says so on a line of its own, or on one shared with others."""
        if line is None:
            with self._line(stage.name) as own:
                return self._do(stage, work, own)
        summary = _DONE_BEFORE
        preemption.stop_here()  # of all processes, whether they find the stage done already or not
        if not stage.is_done():
            stage.start()
            files, summary = work()
            stage.finish(*files)
        Trainings.forget(self.workdir / stage.name)  # also of a run killed between being done and tidying up
        processes.wait(f"{stage.name} is done")
        line.append(summary)
        return stage

    @contextlib.contextmanager
    def _line(self, name: str) -> Iterator[list[str]]:
        """Logs one line: the name, the summaries put into the list, and the time they took."""
        began, summaries = time.time(), []
        yield summaries
        new = [text for text in summaries if text != _DONE_BEFORE]
        before = len(summaries) - len(new)
        shown = ", ".join(new) + f" ({before} done before)" * bool(new and before) if new else _DONE_BEFORE
        self._log(f"{name:<28} {shown:<58} {time.time() - began:6.1f} s")

    # What is made when first needed: a run whose stages are done starts no device, and decodes only what it shows.

    @cached_property
    def _dataset(self) -> datasets.Dataset:
        found, skipped = self.workdir / "label" / "skipped.json", None
        if self.config.data.skip_bad and found.exists():
            try:
                skipped = [datasets.Skipped(**entry) for entry in artifacts.read_json(found)]
            except TypeError:
                raise DataError(f"{found} is not what was written; restore it, or use --overwrite") from None
        return images.load(self.config, skipped=skipped, notes=self.workdir / "label")

    @cached_property
    def _trainings(self) -> Trainings:
        pools = images.pools(self.config, self._dataset)
        self._check_pixels(pools)
        return Trainings(self.config, self._given.classes, pools, pools.layout, self._metrics, self.workdir)

    def _check_pixels(self, pools: Pools) -> None:
        """Refuses images that are not those that earlier stages saw; a folder's digest knows their sizes only."""
        path, digests = self.workdir / "label" / "pixels.json", pools.digests()
        before = artifacts.read_json(path) if path.exists() else {}
        if any(before.get(name, digest) != digest for name, digest in digests.items()):
            raise DataError(
                f"the images in {self._dataset.train.where} are not those that {self.workdir} "
                "was begun with; put them back, use another --workdir, or start afresh with --overwrite"
            )
        if before.keys() != digests.keys():
            artifacts.write_json(path, before | digests)
