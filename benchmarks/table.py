"""``python -m benchmarks.table --config=configs/digits.py --workdir=runs/table``: all rows of the paper's tables.

It makes six runs, which resume if they were killed. In one run, all selections by scores or embeddings share FixMatch
and the proxy. The others train proxies of their own: on all true labels (Fully Supervised), on the labelled images
alone (Score Extrapolation), and on clusters (ELFS, ELFS with an encoder trained on the pool, and the ablation). The
table is WORKDIR/results.md and results.csv. A second one, in WORKDIR/ablation/, compares scores by source of
pseudo-labels (the paper's Table 6).

``--embeddings`` names a file of embeddings (see ``embed.path``); without it, embeddings are the pixels of the pool. The
run with a trained encoder uses its own. Flags after ``--`` go to each run.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from semiprune_jax.report import tables
from semiprune_jax.stages.report import results

_SCORES = {"Forgetting": "semi_forgetting", "EL2N": "semi_el2n", "AUM": "semi_aum"}
_SHARED = ("random", "prototypicality", "zcore", "semi_dual", *_SCORES.values())
# Row of the table, in the paper's order -> run, and name of the selection in it.
ROWS = {
    "Fully Supervised": ("supervised", "semi_dual"),
    "Random": ("shared", "random"),
    "Prototypicality": ("shared", "prototypicality"),
    "ELFS": ("elfs", "semi_aum"),
    "ELFS (Self-Encoder)": ("elfs_swav", "semi_aum"),
    "ZCore": ("shared", "zcore"),
    "Score Extrapolation": ("extrapolation", "extrapolated"),
    "Semi-AUM+Cutoff": ("shared", "semi_aum"),
    "Semi-DUAL+Beta": ("shared", "semi_dual"),
}
ABLATION = {
    f"{score}, {source}": (run, name)
    for score, name in _SCORES.items()
    for source, run in (("deep clustering", "clusters"), ("semi-supervised", "shared"))
}


def main(arguments: list[str]) -> int:
    """Makes the runs, then the table; returns the exit code of a run that failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.table", description=__doc__)
    parser.add_argument("--config", required=True)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--embeddings", type=Path, help="file with a row for each image of the pool")
    parser.add_argument("rest", nargs="*", help="flags of each run, after --")
    options = parser.parse_args(arguments)
    embeddings = options.embeddings or _pixels(options)
    brought = ["--config.embed.source=file", f"--config.embed.path={embeddings}"]
    runs = {
        "shared": ["ablation", *brought, f"--config.select.names={','.join(_SHARED)}"],
        "supervised": ["supervised"],
        "extrapolation": ["extrapolation"],
        "elfs": ["elfs", *brought],
        "elfs_swav": ["elfs_swav"],
        "clusters": ["ablation", *brought, "--config.pseudolabel.source=clusters"],
    }
    for name, (variant, *flags) in runs.items():
        print(f"== {name}", flush=True)
        rows_alone = ["--config.retrain.full=False", "--config.retrain.labelled_only=False"]
        budget = "--config.label.held_out=0"  # all labels teach, as in the paper
        command = [*_command(options, variant, name), *rows_alone, budget, *flags, *options.rest]
        done = subprocess.run(command, check=False)
        if done.returncode:
            return done.returncode
    _write(options.workdir, options.workdir, ROWS)
    _write(options.workdir, options.workdir / "ablation", ABLATION)
    return 0


def _command(options: argparse.Namespace, variant: str, name: str) -> list[str]:
    config, _, own = options.config.partition(":")
    both = ",".join(part for part in (own, variant) if part)
    config = f"--config={config}:{both}" if both else f"--config={config}"
    return [sys.executable, "-m", "semiprune_jax.main", config, f"--workdir={options.workdir / name}"]


def _pixels(options: argparse.Namespace) -> Path:
    """Writes embeddings of the pool's pixels beside the runs; returns their path."""
    import numpy as np

    from semiprune_jax.config.schema import Config
    from semiprune_jax.data.resize import Resize
    from semiprune_jax.stages import images

    path = options.workdir / "pixels.npy"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        config: Config = _load(options.config)
        pool = images.load(config).train
        pixels = pool.read(np.arange(len(pool.keys)), Resize(images.sizes(config).square))
        np.save(path, pixels.reshape(len(pixels), -1).astype(np.float32) / 255)
    return path


def _load(config: str):
    """The config that a flag names."""
    import runpy

    path, _, variant = config.partition(":")
    return runpy.run_path(path)["get_config"](variant)


def _write(runs: Path, directory: Path, titles: dict[str, tuple[str, str]]) -> None:
    rows = []
    for title, (run, name) in titles.items():
        found = results(runs / run, ())
        own = {place: result for place, result in found.items() if result["name"] == name}
        rows += [row | {"name": title} for row in tables.summarise(own)]
    directory.mkdir(exist_ok=True)
    tables.write(directory, rows)
    print("\n" + "\n\n".join(tables.as_texts(rows, None)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
