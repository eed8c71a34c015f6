"""Documents are true: examples in docstrings, and the code, flags, links and files that documents name."""

import doctest
import importlib
import inspect
import re
import subprocess
import tomllib
from pathlib import Path

import numpy as np
import pytest

from semiprune_jax import __version__, pipeline
from semiprune_jax.config import help, packaged
from semiprune_jax.config.schema import base_config
from semiprune_jax.stages import ORDER
from semiprune_jax.workdir import directory as workdir

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("*/README.md"), *ROOT.glob("docs/*.md")])
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text() for path in DOCUMENTS}
CODE = [
    pytest.param(name, code, id=f"{name}:{i}")
    for name, text in TEXTS.items()
    for i, code in enumerate(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
]
# Public modules, in which every function has an example.
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
    assert without <= {"init", "parameters", "select", "recorded"}  # one line is enough for these


@pytest.fixture
def digits(tmp_path, monkeypatch, rng):
    """A directory with a run's dynamics, in which new runs stop once their config is accepted."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pipeline, "run", lambda *arguments, **options: None)
    (tmp_path / "runs/digits/score").mkdir(parents=True)
    p_label = rng.random((200, 30), np.float32)
    np.savez("runs/digits/score/dynamics.npz", p_label=p_label, p_other=1 - p_label)


def run(name, code):
    """Runs a document's code and the examples in its docstrings; returns the names that it defines."""
    scope = {"__name__": name}
    exec(compile(code, name, "exec"), scope)
    for value in [value for value in scope.values() if getattr(value, "__module__", "") == name]:
        for example in doctest.DocTestFinder().find(value, globs=scope):
            assert doctest.DocTestRunner().run(example).failed == 0
    return scope


@pytest.mark.parametrize(("name", "code"), CODE)
def test_the_code_in_documents_runs(name, code, digits):
    scope = run(name, code)
    if name == "README.md":
        assert len(scope["band"]) == len(scope["drawn"]) == 60


def test_documents_have_code():
    assert {"README.md", "docs/python.md", "docs/extending.md"} <= {parameter.values[0] for parameter in CODE}


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


def anchors(path):
    """The anchors that GitHub gives to a document's headings."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_lead_somewhere():
    for document in DOCUMENTS:
        for target, _, anchor in re.findall(r"\]\((?!http)([^)#]*)(#([^)]+))?\)", document.read_text()):
            path = document.parent / target if target else document
            assert path.exists(), f"{document.name}: {target}"
            assert not anchor or anchor in anchors(path), f"{document.name}: {target}#{anchor}"


def test_every_config_and_topic_of_help_that_is_written_of_exists():
    named = {name for text in TEXTS.values() for name in re.findall(r"--config=([a-z][\w/.:,]*\w)", text)}
    assert {"digits", "cifar100:zcore", "configs/digits.py"} <= named
    for name in named - {"none.py", "imagenets"}:  # tests/README.md shows that these do not exist
        assert packaged.load(name.replace("configs/", str(ROOT / "configs") + "/"))
    topics = {topic for text in TEXTS.values() for topic in re.findall(r"--help=([a-z_.]+[a-z_])", text)}
    assert {"ssl", "select.ccs"} <= topics
    for topic in topics - {"selekt"}:
        assert help.of_topic(topic)


def test_every_test_file_that_is_written_of_exists():
    for name, text in TEXTS.items():
        for path in re.findall(r"\btests/[\w/]+\.\w+", text):
            assert (ROOT / path).exists(), f"{name}: {path}"


def test_the_readme_is_short():
    assert len(TEXTS["README.md"]) <= 8000


@pytest.mark.parametrize("name", ["README.md", "docs/outputs.md"])
def test_the_files_of_a_run_are_named(name):
    for file in (*workdir._OWNED, *ORDER):
        assert file in TEXTS[name], file


def test_the_changelog_has_this_version():
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_no_tracked_file_is_large_or_generated():
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    for name in files:  # a source distribution has no such list
        assert (ROOT / name).stat().st_size < 300_000, name
        assert not name.endswith((".pyc", ".tmp", ".log"))


def test_versions_are_pinned_in_one_place():
    """The commit hooks run the tools of the extra dev, so that hooks and CI cannot differ."""
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    pinned = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["dev"]
    for tool in ("ruff", "pyright"):
        assert any(re.match(rf"{tool}(\[.*\])?==[\d.]+$", entry) for entry in pinned)
        assert f"entry: {tool}" in hooks
    assert "rev:" not in hooks
