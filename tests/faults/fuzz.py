"""Thousands of hostile inputs in one process: the program takes each, or refuses it in one line."""

import contextlib
import io
import pickle
import shutil
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from unittest import mock

import hypothesis
import numpy as np
from hypothesis import strategies as st
from PIL import Image

from semiprune_jax import main
from semiprune_jax.config.schema import base_config
from semiprune_jax.data.resize import Resize
from semiprune_jax.errors import UserError, in_words
from semiprune_jax.preflight import plan
from semiprune_jax.report import page
from semiprune_jax.report.contents import Contents
from tests import small
from tests.faults.trials import Row

TEXT = st.text(max_size=12)
NAMES = st.text("ab/.\\ \0\n,\"'é<>&%$~", max_size=12)  # what paths and tables are broken with
NUMBERS = st.one_of(st.integers(), st.integers(-3, 300), st.floats(), st.floats(-1, 2))
VALUES = st.one_of(NUMBERS, TEXT, st.booleans(), st.none(), st.lists(NUMBERS, max_size=3).map(tuple), st.just("()"))


class Bomb:
    """An object that counts how often it is unpickled."""

    set_off = 0

    def __reduce__(self):
        return (_explode, ())


def _explode() -> None:
    Bomb.set_off += 1


def _fields(config: Any, prefix: str = "") -> list[str]:
    """Dotted names of all settings."""
    names = []
    for key, value in config.items():
        names += _fields(value, f"{prefix}{key}.") if hasattr(value, "items") else [prefix + key]
    return names


FIELDS = _fields(base_config())


def attempt(work: Callable[[], object]) -> str:
    """Tells whether input was taken, or refused in one line. Any other exception is a bug of ours and passes."""
    try:
        work()
    except UserError as refusal:
        error = refusal
    else:
        return "taken"
    message, code = in_words(error)
    assert code in (2, 3), message
    assert message.isprintable(), repr(message)
    return "refused"


# Functions that try one random input; each returns the outcome.


def config_by_flags(root: Path, settings: dict[str, Any]) -> str:
    """Settings by flags of the command line, in this process."""
    flags = [f"--config.{name}={value}" for name, value in settings.items()]
    argv = ["main", "plan", f"--config={root / 'fuzzed.py'}", *flags]
    printed = io.StringIO()
    with mock.patch.object(sys, "argv", argv), contextlib.redirect_stderr(printed), contextlib.redirect_stdout(printed):
        code = main.main(argv)
    assert code in (0, 2), (code, printed.getvalue())
    assert "Traceback" not in printed.getvalue()
    return "taken" if code == 0 else "refused"


def table(root: Path, data: bytes, is_parquet: bool, with_folder: bool) -> str:
    """A table of labels, beside a folder or instead of one."""
    path = root / "pool" / ("labels.parquet" if is_parquet else "labels.csv")
    path.write_bytes(data)
    pool = root / "pool"

    def read() -> None:
        found = small.dataset("folder", path=str(pool) if with_folder else "", labels=str(path))
        for key in found.train.keys:
            assert (pool / key).resolve().is_relative_to(pool.resolve()), key

    try:
        return attempt(read)
    finally:
        path.unlink()


def arrays(root: Path, data: bytes) -> str:
    """An .npz."""
    path = root / "pool.npz"
    path.write_bytes(data)
    return attempt(lambda: small.dataset("arrays", path=str(path)).train.read(np.arange(2), Resize(8)))


def image(root: Path, data: bytes, suffix: str) -> str:
    """An image in a folder."""
    path = root / "images" / "ant" / f"000{suffix}"
    path.write_bytes(data)

    def read() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of broken metadata
            found = small.dataset("folder", path=str(root / "images")).train
            pixels = found.read(np.arange(len(found.keys)), Resize(8))
        assert pixels.shape == (len(found.keys), 8, 8, 3)
        assert pixels.dtype == np.uint8

    try:
        return attempt(read)
    finally:
        path.unlink()


class _Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found: Counter[str] = Counter()

    def handle_starttag(self, tag, attrs):
        self.found[tag] += 1
        self.found.update(f"{tag} {name}" for name, _ in attrs)


def shown(root: Path, text: str) -> str:
    """A page that shows a text in every place that shows any: its tags are those of a page with a plain word."""

    def tags(word: str) -> Counter[str]:
        spec = {"name": word, "selector": word, "score": word, "keep": 0.5, "kept": 1, "of": 2, "pruned": 0.5}
        figure = root / "figure.png"
        figure.write_bytes(b"")
        guesses = {"pseudo_label": np.zeros(2, int), "label_source": np.full(2, "fixmatch")}
        contents = Contents(
            classes=(word, "bee"),
            examples={"label": np.zeros(2)},
            pseudolabels=guesses,
            truth=None,
            coresets={word: {"spec": spec, "table": {}}},
            results={},
            lines=[],
            quality=None,
            search=None,
            same_images=[[word, word]],
            images=lambda ids: np.zeros((len(ids), 8, 8, 3), np.uint8),
            examples_per_row=0,
            config={"data": {"path": word}, "seed": word},
        )
        page.write(root / "index.html", contents, [], {word: figure})
        parser = _Tags()
        parser.feed((root / "index.html").read_text())
        return parser.found

    assert tags(text) == tags("word"), text
    return "escaped"


# Random values.

rows = st.lists(st.tuples(NAMES, NAMES), max_size=6)
known = st.tuples(
    st.sampled_from(["ant/003.png", "cat/002.png", "bee/004.png", "../out.png", "linked/ant/003.png", "/etc/x.png"]),
    NAMES,
)
csv_text = st.one_of(rows, st.lists(known, max_size=5)).map(
    lambda lines: "path,label\n" + "".join(f"{path},{label}\n" for path, label in lines)
)
both = st.lists(known, max_size=3).map(
    lambda lines: "path,label\nant/000.png,ant\nbee/001.png,bee\n" + "".join(f"{p},{label}\n" for p, label in lines)
)
csv_bytes = st.one_of(
    both.map(str.encode), csv_text.map(lambda text: text.encode("utf-8", "surrogatepass")), st.binary(max_size=60)
)


@st.composite
def npz_bytes(draw) -> bytes:
    """Files of arrays of any type and shape, with objects that must not be unpickled, or with altered bytes."""
    dtype = st.sampled_from(["u1", "i4", "f8", "?", "U3", "S2", "c8", "O"])

    def array(default: np.ndarray) -> np.ndarray:
        if draw(st.integers(0, 9)) < 8:
            return default
        kind = draw(dtype)
        shape = draw(st.lists(st.integers(0, 9), max_size=4))
        return np.full(shape, Bomb(), object) if kind == "O" else np.zeros(shape, kind)

    images, labels = small.pool(6)
    held = {"x_train": array(images), "y_train": array(labels), "x_test": array(images), "y_test": array(labels)}
    held |= {"classes": array(np.array(["a", "b", "c"])), "keys_train": array(np.array(list("abcdef")))}
    buffer = io.BytesIO()
    kept = {name: value for name, value in held.items() if draw(st.integers(0, 19)) < 19}
    np.savez(buffer, **kept)  # pyright: ignore[reportArgumentType]
    return draw(altered(buffer.getvalue()))


@st.composite
def altered(draw, data: bytes) -> bytes:
    """Data with some bytes changed, or with its end cut off."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(0, 4))):
        changed[draw(st.integers(0, len(changed) - 1))] = draw(st.integers(0, 255))
    return bytes(changed[: draw(st.integers(0, len(changed)))] if draw(st.booleans()) else changed)


@st.composite
def image_file(draw) -> tuple[bytes, str]:
    kind = draw(st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"]))
    mode = draw(st.sampled_from(["RGB", "L", "P", "1"]))
    buffer = io.BytesIO()
    picture = Image.fromarray(small.pool(1, size=draw(st.integers(1, 20)))[0][0]).convert(mode)
    (picture.convert("RGB") if mode == "P" and kind in ("JPEG", "PPM") else picture).save(buffer, kind)
    return draw(altered(buffer.getvalue())), f".{kind.lower()}"


def fuzz(root: Path, trials: int) -> Row:
    """Tries ``trials`` configs, tables, .npz files and images, and a twentieth as many pages."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "fuzzed.py").write_text("from semiprune_jax.config import base_config as get_config\n")
    for name in ("pool", "images"):
        small.write_folder(root / name, n=6, size=8)
    shutil.copy(root / "pool/ant/000.png", root / "out.png")
    (root / "pool/linked").symlink_to(root / "images")
    tally: Counter[str] = Counter()
    troubles: list[str] = []

    def part(name: str, count: int, attempted: Callable[..., str], **strategies) -> None:
        @hypothesis.settings(
            max_examples=count,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(**strategies)
        def attempt_one(**values):
            tally[f"{name} {attempted(root, **values)}"] += 1

        try:
            attempt_one()
        except BaseException as error:  # PanicException of a decoder in Rust is no Exception
            if isinstance(error, KeyboardInterrupt):
                raise
            for one in getattr(error, "exceptions", [error]):
                notes = " ".join(getattr(one, "__notes__", []))
                troubles.append(f"{name}: {type(one).__name__}: {one} {notes}"[:2000])

    settings = st.dictionaries(st.sampled_from(FIELDS), VALUES, min_size=1, max_size=4)
    taken = mock.patch.object(plan, "plan", return_value="")
    forbidden = {
        name: mock.patch.object(pickle, name, side_effect=AssertionError("unpickled")) for name in ("load", "loads")
    }
    with contextlib.ExitStack() as stack:
        for patch in (taken, *forbidden.values()):
            stack.enter_context(patch)
        share = -(-trials // 4)
        part("configs", share, config_by_flags, settings=settings)
        part("tables", share, table, data=csv_bytes, is_parquet=st.booleans(), with_folder=st.booleans())
        part("npz", share, arrays, data=npz_bytes())
        part("images", share, lambda root, file: image(root, *file), file=image_file())
        part("pages", -(-trials // 20), shown, text=st.one_of(TEXT, st.text("<>&\"'/= ascript", max_size=30)))
    if Bomb.set_off:
        troubles.append(f"{Bomb.set_off} objects were unpickled")
    figures = ", ".join(f"{count:,} {word}" for word, count in sorted(tally.items()))
    return Row("hostile input in one process", sum(tally.values()), troubles, figures)
