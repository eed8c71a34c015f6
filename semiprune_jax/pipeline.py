"""The method, stage by stage: label, pseudolabel, score, (embed, search,) select, retrain, report.

A finished stage is skipped, an unfinished one resumes, one that nothing reads is not made. What a stage hands on lies
in its directory as files.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from semiprune_jax import report
from semiprune_jax.baselines import temi
from semiprune_jax.config import schema
from semiprune_jax.config.schema import Config
from semiprune_jax.data import sources
from semiprune_jax.data.budget import draw
from semiprune_jax.data.pools import Pools
from semiprune_jax.data.resize import Resize
from semiprune_jax.distributed import processes
from semiprune_jax.errors import ArgumentError, ConfigError, DataError
from semiprune_jax.features import embeddings
from semiprune_jax.randomness import hash_keys
from semiprune_jax.select import coreset, scores, search, selectors
from semiprune_jax.select.search import Chosen, Trials, Try
from semiprune_jax.stages import images, needs, settings
from semiprune_jax.train import diagnostics
from semiprune_jax.train.quality import pseudo_label_quality
from semiprune_jax.train.training import Trainings
from semiprune_jax.workdir import formats
from semiprune_jax.workdir.directory import Handover, record_config, record_start
from semiprune_jax.workdir.metrics import Metrics
from semiprune_jax.workdir.runner import Outcome, Runner
from semiprune_jax.workdir.stage import Stage, verify


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


class Subset(NamedTuple):
    """Examples to retrain on."""

    name: str  # of the selection, or "full", "labelled_only"
    directory: str  # of its retrainings, less the seed
    keep: float
    kept: Callable[[], np.ndarray]  # bool[N]
    digest: str


Made: TypeAlias = Mapping[str, Stage]  # finished stages, by name


def _certain(labels: np.ndarray) -> dict[str, np.ndarray]:
    """What is predicted where every label is known."""
    return {"prediction": labels.astype(np.int32), "confidence": np.ones(len(labels), np.float32)}


class Pipeline:
    """The stages of one run. Each method takes the stages it reads from and returns its own, done."""

    def __init__(self, config: Config, workdir: Path, log: Callable[[str], None] = print):
        self.config, self.workdir = config, workdir
        self._runner = Runner(workdir, log)
        self._metrics = Metrics(workdir, config.report.wandb_project)
        self._given = Handover(workdir, oracle=config.data.oracle)

    def stages(self) -> Iterator[str]:
        """The method: runs stage after stage, and yields the name of each when it is done."""
        label = self.label()
        yield "label"
        needed, made = needs.of(self.config), {"label": label}
        self._warn(needed)
        if needed.embed_first:
            made["embed"] = self.embed(made)
        if needed.pseudolabel:
            made["pseudolabel"] = self.pseudolabel(made)
        yield "pseudolabel"
        if needed.score:
            made["score"] = self.score(made)
        yield "score"
        if needed.embed and not needed.embed_first:
            made["embed"] = self.embed(made)
        chosen = self.search(made)
        yield "search"
        coresets = self.select(made, chosen)
        yield "select"
        self.retrain(coresets, made)
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
            formats.write_table(files[0], {"id": ids, "key": keys, "label": labels})
            formats.write_json(files[1], list(self._dataset.classes))
            if self.config.data.oracle:
                files.append(self.workdir / "oracle.parquet")
                formats.write_table(files[2], {"id": ids, "key": keys, "label": pool.labels})
            counts = f"{len(labels):,} images, {len(self._dataset.classes)} classes, {np.sum(labels >= 0):,} labelled"
            counts += f"; {len(test.keys) if test else 0:,} to test"
            if self._dataset.corruption is not None:
                files.append(stage.directory / "corruption.parquet")
                names = np.array(["", *sources.KINDS])[self._dataset.corruption + 1]
                formats.write_table(files[-1], {"id": ids, "key": keys, "corruption": names})
            if self.config.data.skip_bad:
                files.append(stage.directory / "skipped.json")
                formats.write_json(files[-1], [entry._asdict() for entry in self._dataset.skipped])
                counts += f"; {len(self._dataset.skipped):,} skipped"
            return Outcome(files, counts)

        self._runner.do(stage, work)
        record_start(self.workdir, self.config.to_json(), oracle=self.config.data.oracle)
        return stage

    def pseudolabel(self, made: Made) -> Stage:
        """A label and a confidence for every example, by FixMatch or by clusters of embeddings.

        FixMatch leaves known labels as they are. Clusters have no names, and read none. Where every label is known
        there is nothing to learn.
        """
        clusters = self.config.pseudolabel.source == "clusters"
        read = "embed" if clusters else "label"
        inputs = {read: made[read].digest}
        stage = self._runner.stage("pseudolabel", settings.of_pseudolabel(self.config), inputs)

        def work() -> Outcome:
            labels = self._given.examples["label"]
            if clusters:
                found, source, known = self._cluster(stage.name), "clusters", np.zeros(len(labels), bool)
            elif np.all(labels >= 0):
                found, source, known = _certain(labels), "budget", labels >= 0
            else:
                found, source, known = self._trainings.fixmatch(stage.name, labels), "fixmatch", labels >= 0
            table = {
                "id": np.arange(len(labels)),
                "key": self._given.examples["key"],
                "pseudo_label": np.where(known, labels, found["prediction"]),
                "label_source": np.where(known, "budget", source),
                **found,
            }
            files = [stage.directory / "pseudolabels.parquet"]
            formats.write_table(files[0], table)
            if np.all(known):
                return Outcome(files, "every label is known")
            if self._given.truth is None:
                return Outcome(files, f"mean confidence {found['confidence'].mean():.3f}")
            quality = self._measure(found["prediction"], labels < 0)
            files.append(stage.directory / "quality.json")
            formats.write_json(files[1], quality)
            key, what = ("matched_accuracy", "matched accuracy") if clusters else ("accuracy", "accuracy")
            shown = ", ".join(f"{100 * values[key]:.1f}% on the {part}" for part, values in quality.items())
            return Outcome(files, f"{what} {shown}")

        return self._runner.do(stage, work)

    def score(self, made: Made) -> Stage:
        """Trains the proxy on all pseudo-labels, or on the labels alone, and scores examples by what it recorded."""
        of_all = self.config.proxy.examples == "all"
        read = "pseudolabel" if of_all else "label"
        inputs = {read: made[read].digest}
        stage = self._runner.stage("score", settings.of_score(self.config), inputs)

        def work() -> Outcome:
            labels = self._pseudo_labels if of_all else self._given.examples["label"]
            record = self._trainings.proxy(stage.name, labels, None if of_all else np.flatnonzero(labels >= 0))
            path = stage.directory / "dynamics.npz"
            formats.write_npz(path, record)
            megabytes = sum(value.nbytes for value in record.values()) / 1e6
            return Outcome([path], f"{self.config.proxy.epochs} epochs, {megabytes:.1f} MB of dynamics")

        self._runner.do(stage, work)
        # A view of the dynamics, cheap and always up to date with config.score: re-scoring doesn't retrain.
        self._write_scores(stage.directory / "scores.parquet")
        processes.barrier("scores are written")
        return stage

    def embed(self, made: Made) -> Stage:
        """Embeddings of the pool: of a network of this run, of one whose weights are brought, or brought themselves."""
        options, source, path = self.config.embed, self.config.embed.source, Path(self.config.embed.path)
        read = {"proxy": ["score"], "fixmatch": ["pseudolabel"], "swav": ["label"], "weights": ["label"], "file": []}
        inputs = {name: made[name].digest for name in read[source]}
        if source in ("file", "weights"):
            inputs["file"] = formats.hash_file(embeddings.existing(options.path, source, options.network))
        stage = self._runner.stage("embed", settings.of_embed(self.config), inputs)

        def make() -> dict[str, np.ndarray]:
            if source == "file":
                return {"features": embeddings.read(path, list(self._given.examples["key"]))}
            if source == "weights":
                return self._trainings.embed_pretrained(options.network, path, options.image_size)
            if source == "swav":
                return self._trainings.swav("embed")
            return self._trainings.embed(source)

        def work() -> Outcome:
            found, file = make(), stage.directory / "embeddings.npz"
            formats.write_npz(file, found)
            summary = f"{found['features'].shape[1]:,} numbers an image, from {source}"
            if source == "swav" and (losses := [x["loss"] for x in self._metrics.lines("embed") if "loss" in x]):
                even = math.log(self.config.swav.prototypes)  # of predictions that tell nothing apart: it has collapsed
                summary += f", loss {losses[-1]:.3f} ({even:.3f} by chance)"
            return Outcome([file], summary)

        return self._runner.do(stage, work)

    def search(self, made: Made) -> dict[str, Chosen]:
        """Chooses cutoffs, horizons and c_D by trials on pseudo-labels; see ``search``."""
        chosen: dict[str, Chosen] = {}
        for name in self.config.search.names:
            parts = search.parts(self.config.select[name].selector, self.config.select.keep)
            with self._runner.line(f"search/{name}") as line:
                chosen[name] = Chosen.of([self._search_one(name, keeps, made, line) for keeps in parts])
        return chosen

    def select(self, made: Made, chosen: Mapping[str, Chosen]) -> list[Stage]:
        """Every named selection at every kept fraction: a coreset each."""
        coresets: list[Stage] = []
        for name in self.config.select.names:
            memo: dict[str, Any] = {}  # what is the same for all kept fractions
            with self._runner.line(f"select/{name}") as line:
                coresets += [
                    self._coreset(name, keep, made, chosen.get(name), memo, line) for keep in self.config.select.keep
                ]
        for names in coreset.alike([stage.directory for stage in coresets]):
            self._runner.log(f"note: {' and '.join(names)} keep the same images")
        return coresets

    def retrain(self, coresets: list[Stage], made: Made) -> None:
        """Trains a fresh network on each coreset with each seed and tests it."""
        if self.config.pseudolabel.source == "clusters" and not self.config.data.oracle:
            self._runner.log("note: no network is retrained: clusters have no names; label what to_label.txt lists")
            return
        known = self._given.examples["label"] >= 0
        subsets: list[Subset] = []
        if self.config.retrain.full:
            labels = made["label" if self.config.data.oracle else "pseudolabel"].digest
            subsets.append(Subset("full", "full", 1.0, lambda: np.ones(len(known), bool), labels))
        if self.config.retrain.labelled_only:
            # By the recipe of a coreset of that size.
            share = float(f"{known.mean():.2g}")
            subsets.append(Subset("labelled_only", "labelled_only", share, lambda: known, made["label"].digest))
        for stage in coresets:
            spec = formats.read_json(stage.directory / "spec.json")

            def kept(path: Path = stage.directory / "coreset.parquet") -> np.ndarray:
                return formats.read_table(path, "kept")["kept"]

            subsets.append(Subset(spec["name"], stage.name.removeprefix("select/"), spec["keep"], kept, stage.digest))
        for subset in subsets:
            with self._runner.line(f"retrain/{subset.directory}") as line:
                for seed in self.config.retrain.seeds:
                    self._retrain_one(subset, seed, line)

    def report(self) -> None:
        """Tables, figures and a page, from what stages wrote and the images that it shows; made anew each time."""
        if not self._label_stage().is_done():
            raise ConfigError(f"{self.workdir} holds nothing to report yet; run the stages first")
        if not processes.is_lead_host():
            return processes.barrier("the report is written")
        given, names = self._given, self.config.select.names
        with self._runner.line("report") as line:
            table = self._write_report(given, names)
            record_config(self.workdir, self.config.to_json())
            line.append(str(self.workdir / "report" / "index.html"))
        self._runner.log("\n" + table)
        return processes.barrier("the report is written")

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
                search=given.search,
                alike=coreset.alike(self.workdir / "select" / name for name in coresets),
                images=lambda ids: self._dataset.train.read(ids, Resize(images.sizes(self.config).square)),
                examples_a_row=self.config.report.examples,
                config=self.config.to_dict(),
            ),
        )

    def _warn(self, needed: needs.Needs) -> None:
        """Says at the start what would only show at the end: averages too slow for the run."""
        config, labels = self.config, self._given.examples["label"]
        n = len(labels)
        shortest = min(
            math.ceil(selectors.coreset_size(n, keep) / settings.retrain_batch(config, keep))
            for keep in config.select.keep
        )
        averages = (  # stage, section and field, steps, of what
            ("pseudolabel", "fixmatch", "ema_decay", config.fixmatch.steps, "weights"),
            ("pseudolabel", "fixmatch", "bn_momentum", config.fixmatch.steps, "batch statistics"),
            ("score", "proxy", "bn_momentum", config.proxy.epochs * math.ceil(n / config.proxy.batch_size),
             "batch statistics"),
            ("retrain", "retrain", "bn_momentum", config.retrain.epochs * shortest, "batch statistics"),
        )  # fmt: skip
        fixmatch = needed.pseudolabel and config.pseudolabel.source == "fixmatch" and bool(np.any(labels < 0))
        run = {"pseudolabel": fixmatch, "score": needed.score, "retrain": True}
        for stage, section, field, steps, of in averages:
            if not run[stage]:
                continue
            warning = diagnostics.slow_average(f"{section}.{field}", config[section][field], steps, of)
            if warning and not any(self.workdir.glob(f"{stage}/**/DONE.json")):
                self._runner.log(f"warning: {warning}")

    def _label_stage(self) -> Stage:
        pool, test = self._dataset.train, self._dataset.test
        contents = {"pool": pool.content, "test": test.content if test else ""}
        contents["classes"] = "\n".join(self._dataset.classes)
        return self._runner.stage("label", settings.of_label(self.config), contents)

    def _draw_labels(self) -> np.ndarray:
        """i32[N], -1 outside the budget."""
        pool, label, classes = self._dataset.train, self.config.label, self._dataset.classes
        if self.config.data.oracle and np.any(pool.labels < 0):
            raise DataError(
                f"data.oracle=True needs every label, but {int(np.sum(pool.labels < 0))} are unknown; set it to False"
            )
        for keep in self.config.select.keep:
            try:
                selectors.coreset_size(len(pool.keys), keep)
            except ArgumentError as error:
                raise ConfigError(f"config.select.keep: {error}") from None
        try:
            known = draw(label.rule, pool.labels, pool.keys, label.budget, self.config.seed)
        except ArgumentError as error:
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

    def _cluster(self, name: str) -> dict[str, np.ndarray]:
        trainings, options = self._trainings, self.config.temi
        return temi.cluster(
            self._given.embeddings["features"], len(self._given.classes), options, self.config.seed, name=name,
            layout=trainings.layout, metrics=self._metrics, pace=trainings.pace(), workdir=self.workdir,
            truth=self._given.truth if options.select == "oracle" else None,
        )  # fmt: skip

    def _measure(self, predicted: np.ndarray, unlabelled: np.ndarray) -> dict[str, dict[str, float]]:
        """Quality of the predictions on the unlabelled part and on the whole pool; also into the metrics."""
        truth, quality = self._given.truth, {}
        assert truth is not None
        step = max((line["step"] for line in self._metrics.lines("pseudolabel")), default=0)
        for part, rows in (("unlabelled", unlabelled), ("pool", np.ones(len(truth), bool))):
            if np.any(rows):
                values = pseudo_label_quality(predicted[rows], truth[rows], len(self._given.classes))
                if self.config.pseudolabel.source == "clusters":  # which have no names to be right or wrong
                    values = {key: values[key] for key in ("matched_accuracy", "nmi", "ari")}
                quality[part] = values
                named = {f"{part}_{key}": value for key, value in values.items()}
                self._metrics.write("pseudolabel", step, named)
        return quality

    def _write_scores(self, path: Path) -> None:
        """Every score by name, over all recorded epochs."""
        options, dynamics = schema.settings(self.config.score), self._given.dynamics
        columns = {
            name: scores.compute(name, dynamics, options) for name in scores.SCORES if scores.recorded(name, dynamics)
        }
        if self.config.proxy.examples == "labelled":  # of the others there is nothing
            known = self._given.examples["label"] >= 0
            columns = {name: np.where(known, values, np.float32(np.nan)) for name, values in columns.items()}
        keys = self._given.examples["key"]
        formats.write_table(path, {"id": np.arange(len(keys)), "key": keys, **columns})

    def _coreset(
        self, name: str, keep: float, made: Made, chosen: Chosen | None, memo: dict[str, Any], line: list[str]
    ) -> Stage:
        options, keeps = settings.selection(self.config, name), self.config.select.keep
        alike = list(keeps)  # kept fractions that go by the same order of choice
        if "cutoff" in selectors.parameters(options["selector"]):
            cutoffs = {each: schema.cutoff_at(self.config.select[name], keeps, each) for each in keeps}
            options["cutoff"] = cutoffs[keep]
            alike = [each for each in keeps if cutoffs[each] == cutoffs[keep]]
        options |= chosen.at(keep) if chosen else {}
        spec = coreset.relevant(options | {"keep": keep})
        reads = coreset.reads(spec)
        inputs = {key: made[key].digest for key in sorted(reads) or ["label"]}
        stage = self._runner.stage(f"select/{name}_keep{coreset.keep_text(keep)}", spec, inputs)

        def work() -> Outcome:
            given, keys = self._given, list(self._given.examples["key"])
            try:
                own_score, kept = coreset.choose(
                    spec, given.dynamics if "score" in reads else {}, keys,
                    self._pseudo_labels if "pseudolabel" in reads else None,
                    given.embeddings if "embed" in reads else None,
                    known=given.examples["label"] >= 0, clusters=len(given.classes), memo=memo,
                    largest=max(alike),
                )  # fmt: skip
            except ArgumentError as error:  # more neighbours than images, embeddings that do not vary, ...
                raise ConfigError(f"config.select.{name}: {error}") from None
            guesses = given.pseudolabels or {}
            columns = {
                "id": np.arange(len(keys)),
                "key": keys,
                "label": given.examples["label"],
                **{key: guesses[key] for key in ("pseudo_label", "confidence", "label_source") if key in guesses},
                **{key: column for key, column in given.scores.items() if key not in ("id", "key")},
            }
            files = coreset.write(stage.directory, spec, columns, own_score, kept)
            return Outcome(files, f"{kept.sum():,} at {coreset.keep_text(keep)}")

        return self._runner.do(stage, work, line)

    def _search_one(self, name: str, keeps: tuple[float, ...], made: Made, line: list[str]) -> dict[str, Any]:
        """What is chosen for one selection, at one kept fraction or for all together."""
        options, spec = self.config.search, settings.selection(self.config, name)
        grid = options.horizons or search.horizons(self.config.score.window, self.config.proxy.epochs)
        depends = settings.of_search(self.config, name, keeps, grid)
        reads = coreset.reads(depends["selection"]) | {"pseudolabel"}
        inputs = {key: made[key].digest for key in sorted(reads)}
        directory = f"search/{name}" + ("" if spec["selector"] == "beta" else f"_keep{coreset.keep_text(keeps[0])}")
        stage = self._runner.stage(directory, depends, inputs)
        path = stage.directory / "chosen.json"

        def work() -> Outcome:
            found = search.tune(spec, keeps, self._trials, grid, options.c_d)
            cost = self._trials.cost(name, keeps)
            formats.write_json(path, {"name": name} | found._asdict() | cost)
            return Outcome([path], f"{found} of {cost['trials']} trials")

        self._runner.do(stage, work, line)
        return formats.read_json(path, "name", *Chosen._fields)

    def _attempt(self) -> Try:
        """A trial of the search: a selection from nine tenths of the pool, trained, tested on the last tenth."""
        given, seed = self._given, self.config.seed
        labels, keys = self._pseudo_labels, given.examples["key"]
        held_out = search.hold_out(len(keys), self.config.search.held_out, hash_keys(seed, "search", list(keys)))
        rows = np.flatnonzero(~held_out)
        dynamics = {key: values[rows] for key, values in given.dynamics.items()}
        train = self._trainings.trials(labels, np.flatnonzero(held_out))
        known, classes = given.examples["label"][rows] >= 0, labels[rows]

        def attempt(name: str, changes: Mapping[str, Any], keep: float, trial_seed: int) -> dict[str, float]:
            options = settings.selection(self.config, name) | dict(changes) | {"keep": keep}
            spec = coreset.relevant(options)
            features = {"features": given.embeddings["features"][rows]} if "embed" in coreset.reads(spec) else None
            _, kept = coreset.choose(spec, dynamics, list(keys[rows]), classes, features, known=known)
            point = "_".join(f"{key}{value:g}" for key, value in changes.items())
            trial = f"search/{name}_keep{coreset.keep_text(keep)}_{point}_seed{trial_seed}"
            return train(trial, rows[kept], batch_size=settings.retrain_batch(self.config, keep), seed=trial_seed)

        return attempt

    def _retrain_one(self, subset: Subset, seed: int, line: list[str]) -> None:
        options, truth = self.config.retrain, self._given.truth
        batch_size = settings.retrain_batch(self.config, subset.keep)
        source = "pseudo-labels" if truth is None else "true labels"
        stage = self._runner.stage(
            f"retrain/{subset.directory}_seed{seed}",
            settings.of_retrain(self.config, subset.keep, source, seed),
            {"subset": subset.digest},
        )

        def work() -> Outcome:
            ids = np.flatnonzero(subset.kept())
            labels = self._pseudo_labels if truth is None else truth
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
            formats.write_json(stage.directory / "result.json", result)
            accuracy = f"{100 * tested['test_accuracy']:.1f}%" if tested else "no test set"
            shown = accuracy if line else f"{len(ids):,} images, {steps:,} steps: {accuracy}"
            return Outcome([stage.directory / "result.json"], shown)

        self._runner.do(stage, work, line)

    # What is made when first needed: a run whose stages are done starts no device, and decodes only what it shows.

    @cached_property
    def _dataset(self) -> sources.Dataset:
        found, skipped = self.workdir / "label" / "skipped.json", None
        if self.config.data.skip_bad and found.exists():
            try:
                skipped = [sources.Skipped(**entry) for entry in formats.read_json(found)]
            except TypeError:
                raise DataError(f"{found} is not what was written; restore it, or use --overwrite") from None
        return images.load(self.config, skipped=skipped, notes=self.workdir / "label")

    @cached_property
    def _trials(self) -> Trials:
        return Trials(self.workdir / "search" / "trials.csv", self._attempt(), self.config.search.seeds)

    @property
    def _pseudo_labels(self) -> np.ndarray:
        """i32[N]."""
        table = self._given.pseudolabels
        assert table is not None, "read by a stage that needs.of does not know of"
        return table["pseudo_label"].astype(np.int32)

    @cached_property
    def _trainings(self) -> Trainings:
        pools = images.pools(self.config, self._dataset)
        self._check_pixels(pools)
        return Trainings(self.config, self._given.classes, pools, pools.layout, self._metrics, self.workdir)

    def _check_pixels(self, pools: Pools) -> None:
        """Refuses images that are not those that earlier stages saw; a folder's digest knows their sizes only."""
        path, digests = self.workdir / "label" / "pixels.json", pools.digests()
        before = formats.read_json(path) if path.exists() else {}
        if any(before.get(name, digest) != digest for name, digest in digests.items()):
            raise DataError(
                f"the images in {self._dataset.train.where} are not those that {self.workdir} "
                "was begun with; put them back, use another --workdir, or start afresh with --overwrite"
            )
        if before.keys() != digests.keys():
            formats.write_json(path, before | digests)
