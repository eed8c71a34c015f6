"""The method, stage by stage: label, pseudolabel, score, select, retrain, report.

A finished stage is skipped, an unfinished one resumes. What a stage hands on lies in its directory as files.
"""

import time
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from semiprune_jax import artifacts, datasets, report, scores, selection
from semiprune_jax import config as configs
from semiprune_jax.artifacts import Stage
from semiprune_jax.config import Config
from semiprune_jax.datasets.budget import draw
from semiprune_jax.datasets.memory_pool import MemoryPool
from semiprune_jax.errors import ConfigError, DataError
from semiprune_jax.mesh import Layout
from semiprune_jax.metrics import Metrics
from semiprune_jax.quality import pseudo_label_quality
from semiprune_jax.randomness import hash_keys, hash_uniform
from semiprune_jax.training import Pools, Trainings


def run(config: Config, workdir: Path, *, until: str = "report", log: Callable[[str], None] = print) -> None:
    """Runs the stages up to and including ``until``, each at most once per work directory."""
    pipeline = Pipeline(config, workdir, log)
    try:
        for stage in pipeline.stages():
            if stage == until:
                return
    finally:
        pipeline.close()


class Pipeline:
    """The stages of one run. Each method takes the stages it reads from and returns its own, done."""

    def __init__(self, config: Config, workdir: Path, log: Callable[[str], None] = print):
        self.config, self.workdir = config, workdir
        self._log = log
        self._metrics = Metrics(workdir, config.report.wandb_project)

    def stages(self) -> Iterator[str]:
        """The method: runs stage after stage, and yields the name of each when it is done."""
        label = self.label()
        yield "label"
        pseudolabel = self.pseudolabel(label)
        yield "pseudolabel"
        score = self.score(pseudolabel)
        yield "score"
        coresets = self.select(score)
        yield "select"
        self.retrain(coresets, pseudolabel)
        yield "retrain"
        self.report()
        yield "report"

    def close(self) -> None:
        """Ends what is open."""
        self._metrics.close()

    def label(self) -> Stage:
        """Draws the label budget, once. Writes examples.parquet, and oracle.parquet if the config asks for it."""
        data, label = self.config.data, self.config.label
        pool = self._dataset.train
        stage = self._stage(
            "label",
            {
                "data": configs.settings(data, "path", "test_path", "labels_csv", "mean", "std", "padding", "flip"),
                "label": configs.settings(label),
                "seed": self.config.seed,
            },
            {"pool": pool.content} | ({"test": self._dataset.test.content} if self._dataset.test else {}),
        )

        def work() -> tuple[list[Path], str]:
            try:
                known = draw(label.rule, pool.labels, pool.keys, label.budget, self.config.seed)
            except ValueError as error:
                raise DataError(str(error)) from None
            labels = np.full(len(pool.keys), -1, np.int32)
            labels[known] = pool.labels[known]
            absent = [name for c, name in enumerate(self._dataset.classes) if not np.any(labels == c)]
            if absent:
                raise DataError(
                    f"{len(absent)} of {len(self._dataset.classes)} classes have no labelled example "
                    f"({', '.join(absent[:5])}); label some of each, or raise label.budget"
                )
            ids = np.arange(len(labels))
            files = [self.workdir / "examples.parquet", stage.directory / "classes.json"]
            artifacts.write_table(files[0], {"id": ids, "key": list(pool.keys), "label": labels})
            artifacts.write_json(files[1], list(self._dataset.classes))
            if data.oracle:
                if np.any(pool.labels < 0):
                    raise DataError(
                        f"data.oracle=True needs every label, but {int(np.sum(pool.labels < 0))} are unknown; "
                        "set it to False"
                    )
                files.append(self.workdir / "oracle.parquet")
                artifacts.write_table(files[-1], {"id": ids, "key": list(pool.keys), "label": pool.labels})
            test = len(self._dataset.test.keys) if self._dataset.test else 0
            number = len(self._dataset.classes)
            return files, f"{len(labels):,} images, {number} classes, {len(known):,} labelled; {test:,} to test"

        return self._do(stage, work)

    def pseudolabel(self, label: Stage) -> Stage:
        """FixMatch, then a label and a confidence for every example; known labels stay as they are."""
        stage = self._stage(
            "pseudolabel",
            {
                "fixmatch": configs.settings(self.config.fixmatch, "eval_every_steps"),
                "model": {"fixmatch": self.config.model.fixmatch, "wide_resnet": self.config.model.wide_resnet},
                "data": self._views,
                "seed": self.config.seed,
            },
            {"label": label.digest},
        )

        def work() -> tuple[list[Path], str]:
            labels = self._examples["label"]
            found = self._trainings.fixmatch(stage.name, labels)
            files = [stage.directory / "pseudolabels.parquet"]
            columns = {
                "id": np.arange(len(labels)),
                "key": self._examples["key"],
                "pseudo_label": np.where(labels >= 0, labels, found["prediction"]),
                "label_source": np.where(labels >= 0, "budget", "fixmatch"),
                "prediction": found["prediction"],
                "confidence": found["confidence"],
            }
            artifacts.write_table(files[0], columns)
            summary = ""
            if self._truth is not None:
                quality = {
                    part: pseudo_label_quality(found["prediction"][rows], self._truth[rows], len(self._dataset.classes))
                    for part, rows in (("unlabelled", labels < 0), ("pool", np.full(len(labels), True)))
                    if np.any(rows)
                }
                files.append(stage.directory / "quality.json")
                artifacts.write_json(files[-1], quality)
                for part, values in quality.items():
                    self._metrics.write(
                        stage.name, self.config.fixmatch.steps, {f"{part}_{key}": v for key, v in values.items()}
                    )
                    summary += f"{'' if summary else 'accuracy '}{100 * values['accuracy']:.1f}% on the {part}  "
            return files, summary.strip()

        return self._do(stage, work)

    def score(self, pseudolabel: Stage) -> Stage:
        """Trains the proxy on all pseudo-labels, recording dynamics, and scores every example."""
        stage = self._stage(
            "score",
            {
                "proxy": configs.settings(self.config.proxy, "eval_every_epochs"),
                "model": {"proxy": self.config.model.proxy, "wide_resnet": self.config.model.wide_resnet},
                "data": self._views,
                "seed": self.config.seed,
            },
            {"pseudolabel": pseudolabel.digest},
        )

        def work() -> tuple[list[Path], str]:
            recorded = self._trainings.proxy(stage.name, self._pseudolabels["pseudo_label"].astype(np.int32))
            path = stage.directory / "dynamics.npz"
            artifacts.write_npz(path, recorded)
            return [path], f"{recorded['p_label'].shape[1]} epochs, {path.stat().st_size / 1e6:.1f} MB of dynamics"

        self._do(stage, work)
        # A view of the dynamics, cheap and always up to date with config.score: re-scoring doesn't retrain.
        self._write_scores(stage)
        return stage

    def select(self, score: Stage) -> list[Stage]:
        """Every named selection at every kept fraction: a coreset each."""
        return [
            self._coreset(name, keep, score) for name in self.config.select.names for keep in self.config.select.keep
        ]

    def retrain(self, coresets: list[Stage], pseudolabel: Stage) -> None:
        """Trains a fresh network on each coreset with each seed and tests it."""
        retrain, labels = self.config.retrain, self._examples["label"]
        runs: list[tuple[str, float, Callable[[], np.ndarray], str]] = []
        if retrain.full:
            runs.append(("full", 1.0, lambda: np.arange(len(labels)), pseudolabel.digest))
        if retrain.labelled_only:
            known = np.flatnonzero(labels >= 0)
            # The recipe of the coreset of that size.
            runs.append(("labelled_only", len(known) / len(labels), lambda: known, pseudolabel.digest))
        for stage in coresets:
            name = stage.name.removeprefix("select/")
            runs.append((name, _spec(stage)["keep"], lambda stage=stage: _kept(stage), stage.digest))
        if self._truth is None:
            known_labels, source = self._pseudolabels["pseudo_label"].astype(np.int32), "pseudo-labels"
        else:
            known_labels, source = self._truth, "true labels"
        for name, keep, ids, digest in runs:
            for seed in retrain.seeds:
                self._retrain_one(name, keep, ids, digest, seed, known_labels, source)

    def report(self) -> None:
        """Tables, figures and a page, from what lies in the work directory; made anew each time."""
        began = time.time()
        contents = report.Contents(
            classes=tuple(self._dataset.classes),
            examples=self._examples,
            pseudolabels=self._pseudolabels,
            truth=self._truth,
            scores=artifacts.read_table(self.workdir / "score" / "scores.parquet"),
            coresets=_in_order(self.workdir / "select", self.config, _read_coreset),
            results=_in_order(self.workdir / "retrain", self.config, lambda p: artifacts.read_json(p / "result.json")),
            lines=self._metrics.lines(),
            quality=_optional_json(self.workdir / "pseudolabel" / "quality.json"),
            images=self._dataset.train.read,
            examples_a_row=self.config.report.examples,
            config=configs.flatten(self.config.to_dict()),
        )
        table = report.write(self.workdir / "report", contents)
        self._say("report", f"{self.workdir / 'report' / 'index.html'}", time.time() - began)
        self._log("\n" + table)

    # Parts of the stages.

    def _coreset(self, name: str, keep: float, score: Stage) -> Stage:
        spec = self.config.select[name]
        settings = configs.settings(spec, "cutoff") | {
            "name": name,
            "keep": keep,
            "cutoff": configs.cutoff_at(spec, self.config.select.keep, keep) if spec.selector in _CUTTING else 0.0,
            "score_options": configs.settings(self.config.score),
            "seed": self.config.seed,
        }
        stage = self._stage(f"select/{name}_keep{keep:.2f}", settings, {"score": score.digest})

        def work() -> tuple[list[Path], str]:
            dynamics, keys = self._dynamics, list(self._examples["key"])
            options = self._score_options | {"horizon": spec.horizon or None}
            try:
                value = scores.compute(spec.score, dynamics, options)
                turn = 1.0 if scores.SCORES[spec.score].high_is_hard else -1.0  # to a hardness
                if selection.ORIENTATION.get(spec.selector) == "easiness" or spec.end == "easy":
                    turn = -turn
                arguments = settings | {
                    "n": len(keys),
                    "score": value * turn if spec.selector in selection.ORIENTATION else value,
                    "mean_probability": scores.mean_probability(dynamics["p_label"], spec.horizon or None),
                    "tiebreak": hash_keys(self.config.seed, "tie", keys),
                    # Keyed by the selection, so that two of them do not draw alike.
                    "noise": hash_uniform(self.config.seed, f"select/{name}", keys),
                }
                kept = selection.select(spec.selector, arguments)
            except ValueError as error:
                raise ConfigError(f"select.{name} at keep = {keep:g}: {error}") from None
            overview = artifacts.read_table(self.workdir / "score" / "scores.parquet")
            mask = np.zeros(len(keys), bool)
            mask[kept] = True
            pseudo = self._pseudolabels
            columns = {
                "id": np.arange(len(keys)),
                "key": keys,
                "label": self._examples["label"],
                "pseudo_label": pseudo["pseudo_label"],
                "confidence": pseudo["confidence"],
                "label_source": pseudo["label_source"],
                "score": value,  # what this selection went by; the columns after it are the overview's
                **{key: column for key, column in overview.items() if key not in ("id", "key")},
                "kept": mask,
            }
            at = stage.directory
            files = [at / "coreset.parquet", at / "kept.txt", at / "dropped.txt", at / "spec.json"]
            artifacts.write_table(files[0], columns)
            for path, rows in ((files[1], mask), (files[2], ~mask)):
                artifacts.write_atomically(path, "".join(f"{keys[i]}\n" for i in np.flatnonzero(rows)).encode())
            artifacts.write_json(
                files[3], settings | {"kept": len(kept), "of": len(keys), "pruned": round(1 - keep, 6)}
            )
            return files, f"kept {len(kept):,} of {len(keys):,}"

        return self._do(stage, work)

    def _retrain_one(
        self,
        name: str,
        keep: float,
        ids: Callable[[], np.ndarray],
        digest: str,
        seed: int,
        labels: np.ndarray,
        source: str,
    ) -> None:
        retrain = self.config.retrain
        batch_size = configs.paper_batch_size(retrain.batch_size, keep, retrain.batch_rule)
        recipe = configs.settings(
            retrain, "seeds", "full", "labelled_only", "save_model", "batch_rule", "eval_every_epochs"
        )
        stage = self._stage(
            f"retrain/{name}_seed{seed}",
            {
                "retrain": recipe | {"batch_size": batch_size},
                "model": {"retrain": self.config.model.retrain, "wide_resnet": self.config.model.wide_resnet},
                "data": self._views,
                "seed": seed,
                "labels": source,
            },
            {"coreset": digest},
        )

        def work() -> tuple[list[Path], str]:
            chosen = ids()
            began = time.time()
            tested = self._trainings.retrain(stage.name, labels, chosen, batch_size=batch_size, seed=seed)
            steps = retrain.epochs * -(-len(chosen) // batch_size)
            result = {
                "name": name.split("_keep", maxsplit=1)[0],
                "keep": keep,
                "seed": seed,
                "examples": len(chosen),
                "batch_size": batch_size,
                "steps": steps,
                "labels": source,
                "seconds": round(time.time() - began, 3),
            }
            path = stage.directory / "result.json"
            artifacts.write_json(path, result | tested)
            accuracy = f"{100 * tested['test_accuracy']:.1f}%" if tested else "no test set"
            return [path], f"{len(chosen):,} examples, {steps:,} steps, {accuracy}"

        self._do(stage, work)

    def _write_scores(self, stage: Stage) -> None:
        dynamics = self._dynamics
        columns: dict[str, Any] = {"id": np.arange(len(self._examples["key"])), "key": self._examples["key"]}
        try:
            for name in scores.SCORES:
                if scores.recorded(name, dynamics):
                    columns[name] = scores.compute(name, dynamics, self._score_options)
        except ValueError as error:
            raise ConfigError(f"config.score: {error}") from None
        artifacts.write_table(stage.directory / "scores.parquet", columns)

    def _stage(self, name: str, settings: dict[str, Any], inputs: dict[str, str]) -> Stage:
        return Stage(self.workdir, name, version=1, settings=settings, inputs=inputs)

    def _do(self, stage: Stage, work: Callable[[], tuple[list[Path], str]]) -> Stage:
        if stage.is_done():
            self._say(stage.name, "done before", 0.0)
            return stage
        began = time.time()
        stage.start()
        files, summary = work()
        stage.finish(*files)
        self._trainings_finished(stage.name)
        self._say(stage.name, summary, time.time() - began)
        return stage

    def _trainings_finished(self, name: str) -> None:
        if "_trainings" in self.__dict__:
            self._trainings.finished(name)

    def _say(self, name: str, text: str, seconds: float) -> None:
        self._log(f"{name:<32} {text:<58} {seconds:6.1f} s")

    # What stages read. Each is read once, when first needed.

    @cached_property
    def _dataset(self) -> datasets.Dataset:
        data = self.config.data
        return datasets.load(
            data.source,
            path=data.path,
            test_path=data.test_path,
            labels_csv=data.labels_csv,
            test_fraction=data.test_fraction,
            image_size=data.image_size,
            decoder=data.decoder,
            seed=self.config.seed,
        )

    @cached_property
    def _trainings(self) -> Trainings:
        runtime = self.config.runtime
        layout = Layout.of(runtime.parallel, runtime.devices)
        train, test = self._dataset.train, self._dataset.test
        with tqdm(total=len(train.keys), desc="decoding", unit="img", leave=False, disable=None) as bar:

            def progress(count: int) -> None:
                bar.update(count - bar.n)

            image = layout.replicate(train.read_all(progress))
        test_pool = None if test is None else layout.replicate(MemoryPool.of(test.read_all(), test.labels))
        return Trainings(
            self.config, len(self._dataset.classes), Pools(image, test_pool), layout, self._metrics, self.workdir
        )

    @cached_property
    def _examples(self) -> dict[str, np.ndarray]:
        return artifacts.read_table(self.workdir / "examples.parquet")

    @cached_property
    def _truth(self) -> np.ndarray | None:
        """i32[N], or None without the oracle."""
        if not self.config.data.oracle:
            return None
        return artifacts.read_table(self.workdir / "oracle.parquet")["label"]

    @cached_property
    def _pseudolabels(self) -> dict[str, np.ndarray]:
        return artifacts.read_table(self.workdir / "pseudolabel" / "pseudolabels.parquet")

    @cached_property
    def _dynamics(self) -> dict[str, np.ndarray]:
        return artifacts.read_npz(self.workdir / "score" / "dynamics.npz")

    @property
    def _views(self) -> dict[str, Any]:
        data = configs.settings(self.config.data)
        return {key: data[key] for key in ("mean", "std", "padding", "flip")}

    @property
    def _score_options(self) -> dict[str, Any]:
        return configs.settings(self.config.score)


_CUTTING = ("double_end", "stratified")


def _spec(stage: Stage) -> dict[str, Any]:
    return artifacts.read_json(stage.directory / "spec.json")


def _kept(stage: Stage) -> np.ndarray:
    return np.flatnonzero(artifacts.read_table(stage.directory / "coreset.parquet")["kept"])


def _read_coreset(directory: Path) -> dict[str, Any]:
    return {
        "spec": artifacts.read_json(directory / "spec.json"),
        "table": artifacts.read_table(directory / "coreset.parquet"),
    }


def _optional_json(path: Path) -> Any:
    return artifacts.read_json(path) if path.exists() else None


def _in_order(directory: Path, config: Config, read: Callable[[Path], Any]) -> dict[str, Any]:
    """What the finished stages below a directory hold, those the config names first and in its order."""
    names = list(config.select.names)

    def rank(path: Path) -> tuple:
        name, _, rest = path.name.partition("_keep")
        return (names.index(name) if name in names else -1 if name.startswith("full") else len(names), name, rest)

    done = [path.parent for path in directory.glob("*/DONE.json")]
    return {path.name: read(path) for path in sorted(done, key=rank)}
