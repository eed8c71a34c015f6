"""``python -m benchmarks.answers --images=cifar10-jpeg --workdir=runs/answers``: is the answer right, on real images?

Makes runs on a pool of 10,000 of CIFAR-10's images, of which 1,000 are labelled, once for each seed of the label draw.
It compares selections whose settings trials have chosen on the pool with the paper's settings for CIFAR-10, with a
random draw, and with the labels alone; the cheap search with one that tries every setting at full length; and estimates
by held-out labels with the truth. Killed at any moment, the same command goes on. It prints the tables in Markdown,
writes them to WORKDIR/answers.md, and their numbers to WORKDIR/answers.jsonl.

``--images`` has the class folders train/ and test/. Networks are small and see 16 pixels, so that two cores take about
three hours. ``--only=cheap`` leaves out the search at full length, which takes half of the time.
"""

import argparse
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from semiprune_jax import pipeline
from semiprune_jax.config import schema, validation
from semiprune_jax.config.schema import Config
from semiprune_jax.stages.report import results
from semiprune_jax.workdir import directory, formats

KEEPS = (0.5, 0.3, 0.1)
PUBLISHED = {  # table 9's cutoffs for CIFAR-10 at these kept fractions, and the DUAL paper's horizon and c_D
    "aum_published": schema.selection(selector="double_end", score="aum", cutoff=(0.0, 0.1, 0.4)),
    "dual_published": schema.selection(selector="beta", score="dual", horizon=30, c_d=5.5),
}
ROWS = ("random", "aum_published", "semi_aum", "semi_aum, full grid", "dual_published", "semi_dual")
ROWS += ("semi_dual, full grid", "labelled_only")
_BEFORE_A_SEARCH = ("label", "pseudolabel", "score")


def main(arguments: list[str]) -> int:
    """Makes the runs, then the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.answers", description=__doc__)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3, help="how many label draws")
    parser.add_argument("--only", choices=("cheap", "all"), default="all")
    options = parser.parse_args(arguments)
    for seed in range(options.seeds):
        work = options.workdir / f"seed{seed}"
        _run(_config(options.images, seed), work)
        if options.only == "all":
            full = options.workdir / f"seed{seed}_full"
            _copy_before_search(work, full)
            config = _config(options.images, seed)
            config.search.cost, config.select.names = 0.0, ("random", "semi_aum", "semi_dual")
            config.retrain.labelled_only = False
            _run(config, full)
        _report(options.workdir, seed + 1)
    return 0


def _config(images: Path, seed: int) -> Config:
    config = schema.base_config()
    config.seed = seed
    config.data.source, config.data.oracle = "folder", True
    config.data.path, config.data.test_path = str(images / "train"), str(images / "test")
    config.data.limit_per_class, config.data.image_size = 1000, 16
    config.data.supervised_mean, config.data.supervised_std = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
    config.model.ssl, config.model.proxy, config.model.retrain = "wrn_10_2", "resnet8", "resnet8"
    config.ssl.update({"steps": 3000, "batch_size": 32, "mu": 3, "eval_every_steps": 250})
    config.ssl.ema_decay = config.ssl.bn_momentum = 0.99
    config.proxy.epochs = config.retrain.epochs = 60
    config.proxy.eval_every_epochs = config.retrain.eval_every_epochs = 60
    config.select.keep, config.select.include_labelled = KEEPS, False
    for name, selection in PUBLISHED.items():
        config.select[name] = selection
    config.select.names = ("random", "semi_aum", "semi_dual", *PUBLISHED)
    config.retrain.labelled_only, config.retrain.save_model = True, False
    return config


def _run(config: Config, work: Path) -> None:
    """Runs all stages, and keeps the lines of the log, which have the time of each task."""
    validation.validate(config)
    directory.open_workdir(work, overwrite=False)

    def log(line: str) -> None:
        print(line, flush=True)
        with (work / "log.txt").open("a") as file:
            file.write(line + "\n")

    pipeline.run(config, work, log=log)


def _copy_before_search(work: Path, copy: Path) -> None:
    """Copies a run's stages before its search, so that another one shares FixMatch and the proxy."""
    if copy.exists():
        return
    parts = shutil.copytree(work, copy.with_name(copy.name + ".tmp"), dirs_exist_ok=True)
    for part in parts.iterdir():
        if part.is_dir() and part.name not in _BEFORE_A_SEARCH:
            shutil.rmtree(part)
    (parts / "log.txt").unlink()
    parts.rename(copy)


def _report(workdir: Path, seeds: int) -> None:
    """Writes the tables of the runs that there are."""
    rows = [row for seed in range(seeds) for row in _rows(workdir, seed)]
    cells = [cell for seed in range(seeds) for cell in _cells(workdir, seed)]
    costs = [cost for seed in range(seeds) for cost in _costs(workdir, seed)]
    lines = [json.dumps({"kind": kind, **entry}) for kind, entries in _kinds(rows, cells, costs) for entry in entries]
    formats.write_atomically(workdir / "answers.jsonl", ("\n".join(lines) + "\n").encode())
    text = "\n\n".join([_accuracies(rows), _coverage(cells), _cheapness(costs), _verdicts(workdir, seeds)])
    formats.write_atomically(workdir / "answers.md", (text + "\n").encode())
    print("\n" + text, flush=True)


def _kinds(*entries: list[dict[str, Any]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    return zip(("accuracy", "estimate", "cost"), entries, strict=True)


def _rows(workdir: Path, seed: int) -> Iterator[dict[str, Any]]:
    """True test accuracies of networks that learnt from true labels, and the settings of their coresets."""
    for run, suffix in ((f"seed{seed}", ""), (f"seed{seed}_full", ", full grid")):
        for place, found in results(workdir / run, ()).items():
            if suffix and found["name"] == "random":
                continue
            spec = workdir / run / "select" / place.rsplit("_seed", 1)[0] / "spec.json"
            chosen = formats.read_json(spec) if spec.exists() else {}
            settings = {key: chosen[key] for key in ("cutoff", "horizon", "c_d") if key in chosen}
            row = {"seed": seed, "row": found["name"] + suffix, "keep": found["keep"], "settings": settings}
            yield row | {"accuracy": found["test_accuracy"]}


def _cells(workdir: Path, seed: int) -> Iterator[dict[str, Any]]:
    """Estimates by held-out labels, each with its interval and its truth."""
    found = formats.read_json(workdir / f"seed{seed}" / "report" / "verdict.json")
    truths = {(entry["name"], entry["keep"]): entry["truth"] for entry in found["selections"]}
    yield {"seed": seed, "of": "pseudo-labels", **found["pseudo_labels"]}
    for entry in found["selections"]:
        name = f"{entry['name']} at {entry['keep']:g}"
        yield {"seed": seed, "of": f"accuracy of {name}", **entry["accuracy"], "truth": entry["truth"]}
        if entry["ahead"]:
            ahead = entry["truth"] - truths["random", entry["keep"]]
            yield {"seed": seed, "of": f"lead of {name}", **entry["ahead"], "truth": ahead}


def _costs(workdir: Path, seed: int) -> Iterator[dict[str, Any]]:
    """Seconds of the trials, and of the retrainings that they serve."""
    for run in (f"seed{seed}", f"seed{seed}_full"):
        path = workdir / run / "log.txt"
        if not path.exists():
            continue
        found = re.findall(r"^(search|retrain)/(?:semi_|random)\S+ .* ([\d.]+) s$", path.read_text(), re.MULTILINE)
        seconds = {kind: sum(float(s) for k, s in found if k == kind) for kind in ("search", "retrain")}
        yield {"seed": seed, "run": run, **seconds}


def _accuracies(rows: list[dict[str, Any]]) -> str:
    def cell(row: str, keep: float) -> str:
        values = [100 * r["accuracy"] for r in rows if r["row"] == row and r["keep"] == keep]
        chosen = [_short(r["settings"]) for r in rows if r["row"] == row and r["keep"] == keep and r["settings"]]
        spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
        return f"{np.mean(values):.1f}{spread}" + f" ({'; '.join(chosen)})" * bool(chosen) if values else ""

    return _markdown(["", *(f"keep {keep:g}" for keep in KEEPS)], ROWS, KEEPS, cell)


def _short(settings: dict[str, float]) -> str:
    return ", ".join(f"{value:g}" for value in settings.values())


def _coverage(cells: list[dict[str, Any]]) -> str:
    kinds = ("pseudo-labels", "accuracy", "lead")

    def of(kind: str) -> list[dict[str, Any]]:
        return [cell for cell in cells if cell["of"].startswith(kind)]

    lines = []
    for kind in kinds:
        inside = [cell["low"] <= cell["truth"] <= cell["high"] for cell in of(kind)]
        off = [100 * abs(cell["value"] - cell["truth"]) for cell in of(kind)]
        lines.append(f"| {kind} | {len(inside)} | {sum(inside)} | {np.mean(off):.1f} |")
    total = [cell["low"] <= cell["truth"] <= cell["high"] for cell in cells]
    head = (
        "| estimate of | cells | intervals that hold the truth | mean distance, points |\n| --- | ---: | ---: | ---: |"
    )
    return "\n".join([head, *lines, f"| all | {len(total)} | {sum(total)} ({100 * np.mean(total):.0f}%) | |"])


def _cheapness(costs: list[dict[str, Any]]) -> str:
    head = "| run | trials, s | retrainings of random, semi_aum and semi_dual with one seed, s |\n| --- | ---: | ---: |"
    return "\n".join([head, *(f"| {c['run']} | {c['search']:.0f} | {c['retrain']:.0f} |" for c in costs)])


def _verdicts(workdir: Path, seeds: int) -> str:
    texts = []
    for seed in range(seeds):
        words = formats.read_json(workdir / f"seed{seed}" / "report" / "verdict.json")["words"]
        texts += [f"Seed {seed}:", "", *(f"- {sentence}" for sentence in words), ""]
    return "\n".join(texts).rstrip()


def _markdown(
    head: list[str], rows: tuple[str, ...], keeps: tuple[float, ...], cell: Callable[[str, float], str]
) -> str:
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * len(keeps)]
    return "\n".join([*lines, *(f"| {row} | " + " | ".join(cell(row, k) for k in keeps) + " |" for row in rows)])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
