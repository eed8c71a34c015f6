"""Rules of the house: imports go one way, heavy imports are late, and every config field is used."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from semiprune_jax.select.selectors import SELECTORS
from semiprune_jax.stages import ORDER

PACKAGE = Path(__file__).parent.parent / "semiprune_jax"

# A top-level folder or file may import itself and the names in earlier groups.
GROUPS = [
    {"apportionment", "errors", "field", "moving_average"},
    {"randomness", "distributed"},
    {"augment", "learners", "models"},
    {"features", "workdir"},
    {"data", "select"},
    {"config", "report"},
    {"train"},
    {"baselines"},
    {"stages"},
    {"pipeline"},
    {"preflight"},
    {"main"},
    {"__main__"},
]
SEES_CONFIG = {"config", "stages", "preflight", "pipeline", "main"}


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts != ("__init__",):
            yield parts[0], path, ast.parse(path.read_text())


def imports(tree):
    """Names of our own top-level modules that a module imports, at its top or inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("semiprune_jax"):
            inside = node.module.split(".")[1:]
            yield from [inside[0]] if inside else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            assert not any(alias.name.startswith("semiprune_jax") for alias in node.names)


def test_imports_go_one_way():
    rank = {name: i for i, group in enumerate(GROUPS) for name in group}
    assert set(rank) == {module for module, _, _ in modules()}
    for module, path, tree in modules():
        for name in imports(tree):
            if name not in rank:
                continue  # __version__
            assert name == module or rank[name] < rank[module], f"{path.name} imports {name}"
            if name == "config":
                assert module in SEES_CONFIG, f"{path.name} sees the config"


def third_party(tree, top_only):
    nodes = tree.body if top_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_linen_and_orbax_have_one_door_each():
    for module, path, tree in modules():
        names = set(third_party(tree, top_only=False))
        if module != "models":
            assert not any(name.startswith("flax.linen") for name in names), path
        if path.stem != "checkpoint":
            assert not any(name.startswith("orbax") for name in names), path
        assert not {"pickle", "torch", "tensorflow"} & {name.split(".")[0] for name in names}, path


def test_heavy_imports_are_late():
    heavy = {"sklearn", "matplotlib", "scipy", "pyarrow", "tensorboardX", "jinja2", "wandb", "orbax", "simplejpeg"}
    for _, path, tree in modules():
        assert not heavy & {name.split(".")[0] for name in third_party(tree, top_only=True)}, path


def test_the_command_line_loads_no_jax():
    code = "import sys, semiprune_jax.main; print({'jax', 'flax', 'sklearn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    "pattern", ["train/steps.py", "baselines/swav.py", "train/dynamics.py", "baselines/temi.py", "learners/*match.py"]
)
def test_steps_read_nothing_from_the_host(pattern):
    for path in PACKAGE.glob(pattern):
        pure = re.split(r"^def \w+\(\s*context: TrainContext|^_assign = ", path.read_text(), flags=re.MULTILINE)[0]
        code = re.sub(r"^ *(>>>|\.\.\.).*", "", pure, flags=re.MULTILINE)
        assert not re.search(r"\.item\(|device_get|\bnp\.(?!ndarray)|print\(|time\.|float\(|jax\.jit", code), path


def test_every_config_field_is_read():
    """A field that no module mentions is a flag nobody uses."""
    from semiprune_jax.config.schema import base_config

    source = "\n".join(
        path.read_text() for module, path, _ in modules() if module != "config" or path.stem == "environment"
    )
    spec = set(base_config().select.random)
    for section, fields in base_config().to_dict().items():
        if section in ("seed", "score", "label"):
            continue  # stages read these sections as a whole
        for name in set(fields) - spec if section != "select" else ("names", "keep"):
            assert re.search(rf"\.{name}\b|option=\"{name}\"", source), f"{section}.{name}"


def test_no_hidden_defaults():
    for _, path, _ in modules():
        assert not re.search(r"(config|options|runtime|data)\.get\(", path.read_text()), path
        assert path.stem not in ("utils", "misc", "common", "helpers")


def test_nothing_is_too_long_to_be_read():
    for _, path, tree in modules():
        text = path.read_text()
        assert text.count("\n") <= 350, path
        assert "fmt: skip" not in text, path
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                most = 150 if isinstance(node, ast.ClassDef) else 60
                assert node.end_lineno - node.lineno + 1 <= most, f"{path}: {node.name}"


def test_the_pipeline_is_a_list_of_stages_and_a_loop():
    assert (PACKAGE / "pipeline.py").read_text().count("\n") < 120
    assert {path.stem for path in (PACKAGE / "stages").glob("*.py")} >= set(ORDER)


def test_the_design_lists_the_rooms():
    listed = re.findall(r"^    ([a-z_]+)(?:\.py|/) ", (PACKAGE.parent / "docs/design.md").read_text(), re.MULTILINE)
    rooms = [path.stem for path in PACKAGE.iterdir() if path.stem[0] not in "_." and path.suffix in ("", ".py")]
    assert sorted(listed) == sorted(rooms)


def test_selectors_are_named_in_their_records_only():
    """Recipes, which configure selections, may name them too."""
    names = "|".join(name for name in SELECTORS if "_" in name or name in ("beta", "stratified"))
    for _, path, tree in modules():
        if "selectors" in path.parts or path.parent.name == "config":
            continue
        named = [
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        assert not [text for text in named if re.fullmatch(names, text)], path
