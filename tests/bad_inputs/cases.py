"""The cases: how bad input is prepared, the flags of the command line, its exit code, and its message."""

import io
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from semiprune_jax.train import meter
from tests import small
from tests.bad_inputs.processes import fork, run

CONFIG = "from tests.small import config\n\ndef get_config():\n    c = config()\n    c.data.path = 'pool.npz'\n    return c\n"
DONE = ["--workdir=done"]  # a run that is done up to its coresets
FOLDER = ["--config.data.source=folder", "--config.data.path=photos", "--config.data.image_size=8"]
TABLE = [*FOLDER, "--config.data.oracle=False", "--config.label.rule=given", "--config.data.labels=labels.csv"]
LABEL = ["--until=label"]


class Case(NamedTuple):
    """One thing that goes wrong."""

    what: str
    flags: list[str]
    code: int
    says: str  # a regular expression, found in the output
    prepare: Callable[[], object] = lambda: None  # run in the case's directory
    lines: int = 1  # in the message, which lists all problems of a config


def write(path: str, text: str | bytes) -> Callable[[], object]:
    return lambda: Path(path).write_bytes(text.encode() if isinstance(text, str) else text)


def append(path: str, data: bytes) -> Callable[[], object]:
    return lambda: Path(path).write_bytes(Path(path).read_bytes() + data)


def table(text: str | bytes) -> Callable[[], object]:
    return write("labels.csv", text)


def npz(**arrays) -> Callable[[], object]:
    whole = {"x_train": small.pool(12)[0], "y_train": small.pool(12)[1]}
    kept = {name: array for name, array in (whole | arrays).items() if array is not None}
    return lambda: np.savez("pool.npz", **kept)


def truncate(pattern: str) -> Callable[[], object]:
    def prepare():
        for path in Path().glob(pattern):
            os.truncate(path, path.stat().st_size // 2)

    return prepare


def flip(pattern: str) -> Callable[[], object]:
    """Changes the byte in the middle of each file."""

    def prepare():
        for path in Path().glob(pattern):
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 0xFF
            path.write_bytes(data)

    return prepare


def remove(path: str) -> Callable[[], object]:
    return lambda: Path(path).unlink()


def broken_images() -> None:
    whole = Path("photos/ant/000.png").read_bytes()
    Path("photos/ant/000.png").write_bytes(whole[: len(whole) // 2])
    Path("photos/bee/001.png").write_text("not an image")
    Path("photos/cat/002.png").write_bytes(b"")
    bomb = io.BytesIO()
    Image.new("1", (20_000, 10_000)).save(bomb, "PNG")
    Path("photos/ant/003.png").write_bytes(bomb.getvalue())


def link_out() -> None:
    shutil.copy("photos/ant/000.png", "elsewhere.png")
    Path("photos/ant/link.png").symlink_to(Path("elsewhere.png").resolve())


def killed() -> None:
    """Makes a run that ends inside FixMatch, at its tenth step, with checkpoints at steps 6 and 9."""
    real, left = meter.Meter.collect, [13]

    def collect(self, pending):
        left[0] -= 1
        if left[0] < 0:
            raise SystemExit(0)
        return real(self, pending)

    meter.Meter.collect = collect
    run(["--workdir=begun", "--config.runtime.checkpoint_every_steps=3"])


def skipped_then(damage: Callable[[], object]) -> Callable[[], object]:
    def prepare():
        broken_images()
        fork(lambda: run([*FOLDER, *SKIPPED]))
        damage()

    return prepare


SKIPPED = ["--workdir=skipped", "--until=label", "--config.data.skip_bad=True"]
RESUMED = ["--workdir=begun", "--until=pseudolabel", "--config.runtime.checkpoint_every_steps=3"]

CASES = [
    # Usage and config.
    Case("no config", ["--config="], 2, "--config is empty; name a file"),
    Case("a config that is not there", ["--config=none.py"], 2, "--config=none.py: No such file or directory;"),
    Case("a config that is no Python", ["--config=labels.csv"], 2, "labels.csv"),
    Case("a config without get_config", ["--config=empty.py"], 2, r"has no get_config\(\)", write("empty.py", "x = 1\n")),
    Case("a packaged config that is none", ["--config=imagenets"], 2, "--config=imagenets: no such file or packaged config; expected a file or one of caltech101, "),
    Case("help of a section that is none", ["run", "--help=selekt"], 2, "--help=selekt: there is no such section; expected one of data, label, "),
    Case("no work directory", ["--workdir="], 2, "both --config and --workdir are needed"),
    Case("an unknown command", ["prune"], 2, "unknown command 'prune'; expected run, report, plan or doctor"),
    Case("an unknown flag", ["--workdri=x"], 2, "Did you mean: workdir"),
    Case("an unknown stage", ["--until=training"], 2, "value should be one of"),
    Case("an unknown field", ["--config.ssl.step=7"], 2, "no field 'step'; did you mean 'steps'"),
    Case("an unknown section", ["--config.retrein.epochs=7"], 2, "no field 'retrein'; did you mean 'retrain'"),
    Case("a wrong value under a former name", ["--config.fixmatch.steps=0"], 2, r"(?s)note: --config.fixmatch is named --config.ssl now; .*config.ssl.steps = 0: expected more than 0", lines=2),
    Case("a former network's name", ["--config.model.fixmatch=resnet19"], 2, r"(?s)note: --config.model.fixmatch is named --config.model.ssl now; .*config.model.ssl = 'resnet19': expected wrn_", lines=2),
    Case("an unknown field in a file", ["--config=c.py"], 2, "no field 'step'; did you mean 'steps'", write("c.py", f"{CONFIG.replace('return', 'c.ssl.step = 7; return')}")),
    Case("text for a number", ["--config.ssl.steps=many"], 2, "--config.ssl.steps=many: expected a whole number"),
    Case("text for a fraction", ["--config.ssl.momentum=much"], 2, "--config.ssl.momentum=much: expected a number"),
    Case("a field unlike any", ["--config.zzz=1"], 2, "the config has no field 'zzz'"),
    Case("a field unlike any, in a file", ["--config=c.py"], 2, "no field 'zzz'", write("c.py", CONFIG.replace("return", "c.zzz = 1; return"))),
    Case("text for a flag", ["--config.data.flip=perhaps"], 2, "--config.data.flip=perhaps: expected True or False"),
    Case("text for fractions", ["--config.select.keep=half"], 2, "config.select.keep = .*half.*: expected finite numbers"),
    Case("text for a number in a file", ["--config=c.py"], 2, "config field 'seed' = 1 is of type str; expected int", write("c.py", f"{CONFIG.replace('return', 'c.seed = str(1); return')}")),
    Case("two wrong values", ["--config.seed=-1", "--config.data.image_size=0"], 2, r"config.seed = -1.*\n.*config.data.image_size = 0", lines=2),
    Case("keep of 0", ["--config.select.keep=0.5,0"], 2, r"config.select.keep = \(0.5, 0.*expected fractions kept, each in \(0, 1\]"),
    Case("keep above 1", ["--config.select.keep=30,"], 2, r"expected fractions kept, each in \(0, 1\]"),
    Case("a number that is none", ["--config.ssl.learning_rate=nan"], 2, "expected a finite number"),
    Case("an infinite budget", ["--config.label.budget=inf"], 2, "config.label.budget = inf: expected a finite number"),
    Case("nothing for a number, in a file", ["--config=c.py"], 2, "config.proxy.epochs = None: expected a whole number", write("c.py", CONFIG.replace("return", "c.proxy.epochs = None; return"))),
    Case("cutoff + keep above 1", ["--config.select.semi_aum.cutoff=0.6,"], 2, r"expected 0 .. 0.5 at keep = 0.5"),
    Case("a horizon past the epochs", ["--config.select.semi_dual.horizon=5"], 2, r"expected 0 \(all\) .. proxy.epochs = 4"),
    Case("a window past the epochs", ["--config.score.window=5"], 2, r"expected 1 .. proxy.epochs = 4", lines=2),
    Case("an unknown selection", ["--config.select.names=semi_aun"], 2, "holds 'semi_aun': expected some of"),
    Case("Beta sampling by AUM", ["--config.select.semi_dual.score=aum"], 2, "never negative"),
    Case("an unknown network", ["--config.model.proxy=resnet19"], 2, "config.model.proxy = 'resnet19': expected wrn_"),
    Case("an unknown learner", ["--config.ssl.learner=mixmatch"], 2, r"config.ssl.learner = 'mixmatch': expected fixmatch | flexmatch"),
    Case("TDDS without its record", ["--config.select.names=tdds"], 2, r"proxy.record_kl = False: expected True, since config.select.tdds selects by tdds"),
    Case("GraNd without its record", ["--config.select.names=hardest", "--config.select.hardest.score=grand"], 2, r"proxy.record_grad_norm = False: expected True, since config.select.hardest selects by grand"),
    Case("clusters of embeddings that come later", ["--config.pseudolabel.source=clusters"], 2, "embed.source = 'proxy': expected file, weights or swav"),
    Case("scores of the labelled alone, for all", ["--config.proxy.examples=labelled"], 2, r"semi_aum.extrapolate = 'none': expected neighbours or graph", lines=2),
    Case("Beta sampling by extrapolated scores", ["--config.select.semi_dual.extrapolate=graph"], 2, "semi_dual.extrapolate = 'graph': expected none: beta needs probabilities"),
    Case("an open setting that no trial chooses", ["--config.select.names=dual_hardest", "--config.select.dual_hardest.horizon=-1"], 2, r"select.dual_hardest.horizon = -1: expected a value: there are no trials that choose it for top"),
    Case("a search over later epochs", ["--config.search.horizons=9,"], 2, r"search.horizons = \(9,\): expected score.window = 3 .. proxy.epochs = 4"),
    Case("patches that do not fit", ["--config.embed.image_size=225"], 2, "embed.image_size = 225: expected a multiple of 16"),
    Case("an unknown network of embeddings", ["--config.embed.network=clip"], 2, "embed.network = 'clip': expected vit_s16"),
    Case("a SwAV network that is none", ["--config.swav.network=wrn_10_1"], 2, "swav.network = 'wrn_10_1': expected resnet8"),
    Case("BADGE without a network", ["--config.select.names=badge", "--config.embed.source=file"], 2, r"embed.source = 'file': expected fixmatch or proxy: config.select.badge needs predictions"),
    Case("a budget of 1", ["--config.label.budget=1"], 2, "a fraction below 1, or a count above 1"),
    Case("a variant that is none", ["--config=smokes.py:smoke"], 2, "--config: no variant 'smoke' of this config; expected usb, after a colon, or none", write("smokes.py", "def get_config(variant):\n    raise ValueError(f'no variant {variant!r} of this config; expected usb, after a colon, or none')\n")),
    Case("a pool nowhere", ["--config.data.pool=disk"], 2, "config.data.pool = 'disk': expected auto | memory | stream"),
    Case("crops of another kind", ["--config.data.crops=random"], 2, "config.data.crops = 'random': expected padded | resized"),
    Case("squares smaller than networks see", ["--config.data.crops=resized", "--config.data.square_size=4"], 2, "config.data.square_size = 4: expected data.image_size = 8 or more"),
    Case("squares too large for whole numbers", ["--config.data.crops=resized", "--config.data.square_size=600"], 2, "config.data.square_size = 600: expected 512 or less"),
    Case("two counts expected", ["--config.data.expected=64,24"], 2, r"config.data.expected = \(64, 24\): expected 3 whole numbers"),
    Case("fewer workers than none", ["--config.runtime.workers=-2"], 2, "config.runtime.workers = -2: expected -1"),
    Case("no memory", ["--config.runtime.memory_share=0"], 2, "config.runtime.memory_share = 0.0: expected 0 < x <= 1"),
    Case("a negative rate", ["plan", "--images_per_second=-1"], 2, "images_per_second"),
    Case("more pruned than there is", ["--config.select.keep=0.001"], 2, "keeps none"),
    # The work directory.
    Case("a work directory of another config", [*DONE, "--config.ssl.steps=13"], 2, "fixmatch.steps was 12, now 13; go back to those"),
    Case("a work directory that is something else", ["--workdir=photos"], 2, "no manifest.json, so it is not a work directory"),
    Case("the same with --overwrite", ["--workdir=photos", "--overwrite"], 2, "so it is not a work directory"),
    Case("a work directory that is a file", ["--workdir=labels.csv"], 2, "cannot be used: (File exists|Not a directory)"),
    Case("a work directory that cannot be written", ["--workdir=/proc/nowhere"], 2, "cannot be used"),
    Case("a report of nothing", ["report"], 2, "holds nothing to report yet"),
    Case("manifest.json cut in half", DONE, 3, "manifest.json cannot be read", truncate("done/manifest.json")),
    Case("manifest.json that is a list", DONE, 3, "expected an object with starts", write("done/manifest.json", "[]")),
    # Arrays.
    Case("no .npz", ["--config.data.path=none.npz"], 3, "is not a file"),
    Case("an .npz that is text", [], 3, "an .npz of plain arrays: Python objects, or no .npz at all", write("pool.npz", "hello")),
    Case("an .npz cut in half", [], 3, "an .npz of plain arrays: File is not a zip file", truncate("pool.npz")),
    Case("an .npz of pickled objects", [], 3, "Python objects, or no .npz at all", npz(x_train=np.array([{}], object))),
    Case("an .npz without labels", [], 3, "no array 'y_train', only x_train", npz(y_train=None)),
    Case("images that are floats", [], 3, r"x_train is float64\[12, 8, 8, 3\]; expected uint8", npz(x_train=np.zeros((12, 8, 8, 3)))),
    Case("images of two channels", [], 3, r"uint8\[12, 8, 8, 2\]; expected uint8", npz(x_train=np.zeros((12, 8, 8, 2), np.uint8))),
    Case("more labels than images", [], 3, r"y_train is of shape \[13\]; expected one label per image, \[12\]", npz(y_train=np.arange(13) % 3)),
    Case("labels that are floats", [], 3, "expected whole numbers, -1 where unknown", npz(y_train=np.zeros(12))),
    Case("labels past the classes", [], 3, r"spans 0\.\.2; expected -1\.\.1", npz(classes=np.array(["a", "b"]))),
    Case("labels of one class", [], 3, "labels of 1 classes", npz(y_train=np.zeros(12, int))),
    Case("two keys alike", [], 3, "a different one for each", npz(keys_train=np.array(["a"] * 12))),
    Case("unknown labels with an oracle", [], 3, "data.oracle=True needs every label", npz(y_train=np.r_[-1, np.arange(11) % 3])),
    Case("fewer images than expected", ["--config.data.expected=65,24,3"], 3, "pool.npz holds 64 images, 24 to test, 3 classes; data.expected says 65 images, 24 to test, 3 classes; complete the data"),
    Case("a plan without data", ["plan", "--config.data.path=none.npz"], 3, "is not a file"),
    Case("a long tail of unknown labels", ["--config.data.imbalance=0.5", "--config.data.oracle=False"], 3, "needs every label", npz(y_train=np.r_[-1, np.arange(11) % 3])),
    Case("fewer labels than classes", ["--config.label.budget=2", "--config.label.rule=uniform"], 3, "of 3 classes have no labelled example"),
    Case("more labels than images to label", ["--config.label.budget=500"], 3, "gives 500 labels of 64"),
    # Datasets of TFDS.
    Case("no name of a dataset", ["--config.data.source=tfds"], 2, "config.data.name = '': expected the name of a dataset"),
    Case("a dataset that is not there", ["--config.data.source=tfds", "--config.data.name=nope", "--config.data.path=."], 3, "data.name = 'nope' in . is not a prepared dataset"),
    Case("a dataset that is not prepared", ["--config.data.source=tfds", "--config.data.name=cifar10", "--config.data.path=."], 3, "has not been prepared; do so once, as ArrayRecord"),
    # Folders and tables.
    Case("no folder", [*FOLDER, "--config.data.path=none"], 3, "is not a folder"),
    Case("an empty folder", [*FOLDER, "--config.data.path=empty"], 3, "holds no images", lambda: Path("empty").mkdir()),
    Case("an image that is a link out of its folder", FOLDER, 3, "photos: 'ant/link.png' is a link that leaves the folder, to .*; copy what it leads to, or allow such links", link_out),
    Case("no class folders", [*FOLDER, "--config.data.path=photos/ant"], 3, "is not made of class folders"),
    Case("images outside the class folders", FOLDER, 3, "1 images outside any", lambda: shutil.copy("photos/ant/000.png", "photos/x.png")),
    Case("a table cut in half, in parquet", [*TABLE[:-1], "--config.data.labels=t.parquet"], 3, "t.parquet cannot be read as parquet", write("t.parquet", b"PAR1PAR1")),
    Case("a table without labels, in parquet", [*TABLE[:-1], "--config.data.labels=t.parquet"], 3, "has the columns path; expected path,label", lambda: pq.write_table(pa.table({"path": ["ant/000.png"]}), "t.parquet")),
    Case("a table that leaves its folder", [*TABLE, "--config.data.path="], 3, "line 2: '../photos/a.png' leaves the table's folder", table("path,label\n../photos/a.png,ant\n")),
    Case("a table of images that are gone", [*TABLE, "--config.data.path="], 3, "photos/none.png cannot be read: No such file", table("path,label\nphotos/none.png,ant\nphotos/bee/001.png,bee\n")),
    Case("a test table with a blank", [*TABLE, "--config.data.test_path=photos", "--config.data.path=", "--config.data.labels=p.csv", "--config.data.test_labels=labels.csv"], 3, "gives 'ant/003.png' no label; a test set needs them all", lambda: [write("p.csv", "path,label\nphotos/ant/000.png,ant\nphotos/bee/001.png,bee\n")(), table("path,label\nant/000.png,ant\nant/003.png,\n")()]),
    Case("a cache that cannot be made", [*FOLDER, "--config.data.pool=stream", "--config.data.cache=/proc/none", "--until=pseudolabel"], 4, "data.cache = '/proc/none' cannot be used: No such file"),
    Case("a streamed image that is broken", [*FOLDER, "--config.data.pool=stream", "--until=pseudolabel"], 3, "1 of 64 images in photos cannot be decoded: ant/000.png", write("photos/ant/000.png", b"broken")),
    Case("a bucket without its library", [*FOLDER, "--config.data.path=gs://bucket/pool"], 2, "gs://bucket/pool: Please install gcsfs .*extra gcs", lambda: sys.modules.__setitem__("gcsfs", None)),
    Case("a class folder misnamed", [*FOLDER, "--config.data.classes=ant,bee,cats"], 3, "'cat', which is no class; .*did you mean 'cats'"),
    Case("a class without an image", [*FOLDER, "--config.data.classes=ant,bee,cat,dog"], 3, r"have no labelled example \(dog\)"),
    Case("a test set of other classes", [*FOLDER, "--config.data.test_path=test"], 3, "holds the folder 'ants', which is no class; .*did you mean 'ant'", lambda: shutil.copytree("photos/ant", "test/ants")),
    Case("no test set", [*FOLDER, "--config.data.test_path=none"], 3, "data.test_path = 'none' is not a folder"),
    Case("an empty test set", [*FOLDER, "--config.data.test_path=test"], 3, "data.test_path = 'test' holds no images", lambda: Path("test").mkdir()),
    Case("a test set without class folders", [*FOLDER, "--config.data.test_path=test"], 3, "holds '000.png' outside any class folder", lambda: shutil.copytree("photos/ant", "test")),
    Case("a test set inside the pool", [*FOLDER, "--config.data.test_path=photos/ant"], 3, "lie in each other"),
    Case("no table", [*TABLE, "--config.data.labels=none.csv"], 3, "cannot be read: No such file"),
    Case("an empty table", TABLE, 3, "has the columns none; expected path,label", table("")),
    Case("a table with other columns", TABLE, 3, "has the columns file, class; expected path,label", table("file,class\n")),
    Case("a table with semicolons", TABLE, 3, "separated by commas, not by ';'", table("path;label\nant/000.png;ant\n")),
    Case("a table with tabs", TABLE, 3, r"separated by commas, not by '\\t'", table("path\tlabel\nant/000.png\tant\n")),
    Case("a table in Latin-1", TABLE, 3, "line 3, is not UTF-8", table("path,label\nant/000.png,ant\nbee/001.png,für\n".encode("latin-1"))),
    Case("a table in UTF-16", TABLE, 3, "line 1, is not UTF-8", table("path,label\nant/000.png,ant\n".encode("utf-16"))),
    Case("a table with an open quote", TABLE, 3, "cannot be read as CSV", table('path,label\nant/000.png,"ant\n')),
    Case("a path that is not in the folder", TABLE, 3, "line 2: 'ant/0.png' is not an image", table("path,label\nant/0.png,ant\n")),
    Case("a path out of the folder", TABLE, 3, r"'../done/x.png' is not an image", table("path,label\n../done/x.png,ant\n")),
    Case("a path that stands twice", TABLE, 3, "line 3: 'ant/000.png' stands there twice", table("path,label\nant/000.png,ant\nant/000.png,bee\n")),
    Case("an unknown class in a table", [*TABLE, "--config.data.classes=ant,bee"], 3, "line 3, has the label 'bees', which is no class; .*did you mean 'bee'", table("path,label\nant/000.png,ant\nbee/001.png,bees\n")),
    Case("a class without a label", [*TABLE, "--config.data.classes=ant,bee,cat"], 3, r"have no labelled example \(cat\)", table("path,label\nant/000.png,ant\nbee/001.png,bee\n")),
    Case("a table of one class", TABLE, 3, "names 1 classes", table("path,label\nant/000.png,ant\n")),
    Case("a test fraction of nothing", [*TABLE, "--config.data.test_fraction=0.01"], 3, "data.test_fraction = 0.01 of 22 labelled examples is none"),
    # Images.
    Case("images that cannot be decoded", FOLDER, 3, r"4 of 64 images in photos cannot be decoded: .*ant/000.png \(.*truncated.*bee/001.png \(not an image\).*data.skip_bad=True", broken_images),
    Case("the same, skipped", [*FOLDER, *LABEL, "--config.data.skip_bad=True"], 0, "60 images, 3 classes, .*; 4 skipped", broken_images),
    Case("none that can be decoded, skipped", [*FOLDER, "--config.data.skip_bad=True"], 3, "no images in photos", truncate("photos/*/*.png")),
    Case("the list of skipped images altered", [*FOLDER, *SKIPPED], 3, "skipped.json is not what was written", skipped_then(write("skipped/label/skipped.json", '[{"part": 1}]'))),
    # Files of earlier stages.
    Case("examples.parquet cut in half", DONE, 3, "examples.parquet is not what stage 'label' wrote", truncate("done/examples.parquet")),
    Case("examples.parquet gone", DONE, 3, "examples.parquet, which stage 'label' wrote, is gone", remove("done/examples.parquet")),
    Case("a byte of the pseudo-labels flipped", DONE, 3, "pseudolabels.parquet is not what stage 'pseudolabel' wrote", flip("done/pseudolabel/*.parquet")),
    Case("dynamics.npz cut in half", DONE, 3, "dynamics.npz is not what stage 'score' wrote", truncate("done/score/dynamics.npz")),
    Case("a coreset altered", DONE, 3, "kept.txt is not what stage 'select/semi_aum_keep0.50' wrote", flip("done/select/semi_aum_keep0.50/kept.txt")),
    Case("a coreset altered before a report", [*DONE, "report"], 3, "coreset.parquet is not what stage", flip("done/select/semi_aum_keep0.50/coreset.parquet")),
    Case("DONE.json cut in half", DONE, 3, "DONE.json cannot be read", truncate("done/score/DONE.json")),
    Case("DONE.json altered", DONE, 3, "DONE.json is not what was written", lambda: Path("done/score/DONE.json").write_text(Path("done/score/DONE.json").read_text().replace('"version": 1', '"version": 7'))),
    Case("half a line of metrics", [*DONE, "--until=select"], 0, "done before", append("done/metrics.jsonl", b'\xff\n[1]\n{"stage": "score", "step": "x"}\n{"stage": "sc')),
    Case("the newest checkpoint cut in half", RESUMED, 0, "checkpoints/9 is damaged.*going on from the one of step 6", truncate("begun/pseudolabel/checkpoints/9/tree/ocdbt.process_0/d/*")),
    Case("a byte of the newest checkpoint flipped", RESUMED, 0, "checkpoints/9 is damaged.*going on from the one of step 6", flip("begun/pseudolabel/checkpoints/9/tree/ocdbt.process_0/d/*")),
    Case("both checkpoints damaged", RESUMED, 0, "checkpoints/6 is damaged.*the training begins again", flip("begun/pseudolabel/checkpoints/*/tree/_METADATA")),
    Case("other images under the same names", [*FOLDER, "--workdir=folder"], 3, "are not those that folder was begun with", lambda: same_size("photos/ant/000.png")),
    Case("embeddings of another pool", [*DONE, "--until=select", "--config.select.names=moderate", "--config.embed.source=file", "--config.embed.path=e.npy"], 3, "e.npy has 63 embeddings; the pool has 64 images", lambda: np.save("e.npy", np.ones((63, 4)))),
    Case("embeddings that are not there", [*DONE, "--until=select", "--config.select.names=d2", "--config.embed.source=file"], 3, "embed.path = '' is not a file"),
    Case("weights that are not there", [*DONE, "--until=select", "--config.select.names=k_centre", "--config.embed.source=weights"], 3, "embed.path = '' is not a file; name one that holds the weights of vit_b16"),
    Case("weights that are none", [*DONE, "--until=select", "--config.select.names=k_centre", "--config.embed.source=weights", "--config.embed.path=w.safetensors"], 3, "w.safetensors cannot be read", write("w.safetensors", b"nothing")),
    Case("weights of another kind", [*DONE, "--until=select", "--config.select.names=k_centre", "--config.embed.source=weights", "--config.embed.path=w.bin"], 3, "expected a .safetensors file", write("w.bin", b"nothing")),
    Case("more neighbours than images", ["--workdir=w", "--until=pseudolabel", "--config.pseudolabel.source=clusters", "--config.embed.source=file", "--config.embed.path=e.npy", "--config.temi.neighbours=64"], 3, "3 clusters by 64 neighbours each, of 64 images; lower temi.neighbours", lambda: np.save("e.npy", np.random.default_rng(0).random((64, 4)))),
    Case("too few labels for a graph network", [*DONE, "--until=select", "--config.select.names=extrapolated", "--config.embed.source=file", "--config.embed.path=e.npy"], 2, "config.select.extrapolated: 16 examples have a score; a graph network needs 20", lambda: np.save("e.npy", np.random.default_rng(0).random((64, 4)))),
    Case("embeddings that do not vary", [*DONE, "--until=select", "--config.select.names=zcore", "--config.embed.source=file", "--config.embed.path=e.npy"], 2, "config.select.zcore: 0 dimensions of the embeddings vary; ZCore needs two", lambda: np.save("e.npy", np.ones((64, 4)))),
    Case("more neighbours than there are images", [*DONE, "--until=select", "--config.select.names=d2", "--config.select.d2.neighbours=64", "--config.embed.source=file", "--config.embed.path=e.npy"], 2, "config.select.d2: k = 64 neighbours of 64 examples; expected 1 .. 63", lambda: np.save("e.npy", np.random.default_rng(0).random((64, 4)))),
    Case("embeddings that are constant", [*DONE, "--until=select", "--config.select.names=k_centre", "--config.embed.source=file", "--config.embed.path=e.npy"], 0, "select/k_centre", lambda: np.save("e.npy", np.ones((64, 4)))),
    # Devices and training.
    Case("more devices than there are", ["--config.runtime.devices=64"], 4, r"runtime.devices = 64, but there are \d"),
    Case("no device of the kind asked for", [], 4, "JAX finds no device", lambda: jax.config.update("jax_platforms", "tpu")),
    Case("a learning rate that explodes", ["--config.ssl.learning_rate=1e30"], 6, "the loss at step 1 is nan; lower the learning rate"),
    Case("no prediction is ever confident", ["--config.ssl.threshold=1.0"], 6, "at step 6 of 12, 0% of the unlabelled images"),
    Case("images that are all alike", [], 6, "at step 6 of 12, 100.0% of the unlabelled images are predicted as", npz(x_train=np.full((64, 8, 8, 3), 7, np.uint8), y_train=small.pool(64)[1])),
]


def same_size(path: str) -> None:
    """Puts another image into a file of the same size, in a folder whose run has drawn its labels."""
    fork(lambda: run([*FOLDER, "--workdir=folder", "--until=pseudolabel"]))
    size = Path(path).stat().st_size
    Image.new("RGB", (8, 8), (9, 9, 9)).save(path)
    Path(path).write_bytes(Path(path).read_bytes().ljust(size, b"\0"))
