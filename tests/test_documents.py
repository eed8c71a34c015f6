"""Documents are true: examples in docstrings, the README's code, flags, links and files."""

import ast
import doctest
import importlib
import inspect
import re
import subprocess
import tomllib
from pathlib import Path

import numpy as np
import pytest

from semiprune_jax import __version__
from semiprune_jax.config.schema import base_config
from semiprune_jax.workdir import directory as workdir

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("*/README.md")])
# Public modules: every function of theirs shows an example.
PUBLIC = ("select.scores", "select.selectors", "train.dynamics", "train.quality")
WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in ROOT.glob("semiprune_jax/**/*.py")
    if ">>> " in path.read_text()
)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_in_docstrings(name):
    module = importlib.import_module(name.removesuffix(".__init__"))
    found = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.failed == 0
    assert found.attempted > 0


def test_public_modules_have_examples():
    assert {f"semiprune_jax.{name}" for name in PUBLIC} <= {name.removesuffix(".__init__") for name in WITH_EXAMPLES}


@pytest.mark.parametrize("name", PUBLIC)
def test_public_functions_have_an_example(name):
    module = importlib.import_module(f"semiprune_jax.{name}")
    functions = {key: value for key, value in vars(module).items() if inspect.isfunction(value) and key[0] != "_"}
    own = {key for key, value in functions.items() if value.__module__.startswith(module.__name__)}
    without = {key for key in own if ">>>" not in (functions[key].__doc__ or "")}
    assert without <= {"init", "parameters", "select", "recorded"}  # which say all in a line


def test_the_code_in_the_readme_runs(tmp_path, monkeypatch, rng):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/digits/score").mkdir(parents=True)
    p_label = rng.random((200, 30), np.float32)
    np.savez("runs/digits/score/dynamics.npz", p_label=p_label, p_other=1 - p_label)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        scope = {}
        exec(compile(ast.parse(block), "README.md", "exec"), scope)
        assert len(scope["band"]) == len(scope["drawn"]) == 60


def flags_in(text):
    return set(re.findall(r"--config\.([a-z_.]+[a-z_])", text))


def test_every_flag_that_is_written_of_exists():
    places = [*DOCUMENTS, *ROOT.glob("configs/*.py"), *ROOT.glob("launch/*"), *(ROOT / "semiprune_jax").rglob("*.py")]
    config, checked = base_config(), 0
    for place in places:
        for flag in flags_in(place.read_text()) - {"a.b"}:
            section = config
            for part in flag.split("."):
                assert part in section, f"{place.name}: --config.{flag}"
                section = section[part]
            checked += 1
    assert checked > 10


def test_links_lead_somewhere():
    for document in DOCUMENTS:
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_the_picture_of_the_house_is_the_house():
    picture = set(re.findall(r"^    ([a-z_]+)(?:\.py|/) ", (ROOT / "README.md").read_text(), re.MULTILINE))
    package = ROOT / "semiprune_jax"
    rooms = {path.stem for path in package.iterdir() if path.stem[0] != "_" and path.suffix in ("", ".py")}
    assert picture == rooms


def test_the_readme_names_what_a_run_leaves():
    text = (ROOT / "README.md").read_text()
    for name in workdir.OWNED:
        assert name in text, name


def test_the_changelog_has_this_version():
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_no_tracked_file_is_large_or_generated():
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    for name in files:  # none in a source distribution
        assert (ROOT / name).stat().st_size < 300_000, name
        assert not name.endswith((".pyc", ".tmp", ".log"))


def test_versions_are_pinned_in_one_place():
    """The commit hooks run the tools that the extra dev installs, so that they and CI cannot differ."""
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    pinned = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["dev"]
    for tool in ("ruff", "pyright"):
        assert any(re.match(rf"{tool}(\[.*\])?==[\d.]+$", entry) for entry in pinned)
        assert f"entry: {tool}" in hooks
    assert "rev:" not in hooks
