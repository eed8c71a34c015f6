"""The package as installed: the contents of the wheel, its program, and the modules that an import loads."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import semiprune_jax
from semiprune_jax.config import packaged

ROOT = Path(__file__).parent.parent
SOURCES = ("semiprune_jax", "configs", "setup.py", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel built from a copy, so that the checkout stays as it is."""
    source = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        path = ROOT / name
        shutil.copytree(path, source / name) if path.is_dir() else shutil.copy(path, source)
    arguments = ["wheel", ".", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", "."]
    pip(*arguments, cwd=source)
    return next(source.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A directory of packages that holds only the wheel's."""
    site = tmp_path_factory.mktemp("installed")
    pip("install", "--no-deps", "--no-index", "--target", str(site), str(wheel), cwd=site)
    return site


def pip(*arguments, cwd):
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def run(arguments, cwd, site):
    """Runs a program that cannot see the checkout."""
    environment = os.environ | {"PYTHONPATH": str(site), "JAX_PLATFORMS": "cpu", "PYTHONSAFEPATH": "1"}
    done = subprocess.run(arguments, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_every_module_and_config(wheel):
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    modules = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("semiprune_jax/**/*.py")}
    configs = {f"semiprune_jax/configs/{path.name}" for path in ROOT.glob("configs/*.py")}
    assert held == modules | configs | {"semiprune_jax/py.typed"}


def test_the_program_runs_a_packaged_config_anywhere(installed, tmp_path):
    program = str(installed / "bin" / "semiprune")
    assert run([program, "--version"], tmp_path, installed) == f"semiprune_jax {semiprune_jax.__version__}\n"
    out = run([program, "run", "--config=digits:smoke", "--workdir=w", "--until=label"], tmp_path, installed)
    assert out.startswith("label  ")
    assert (tmp_path / "w" / "examples.parquet").exists()
    code = "from semiprune_jax.config import packaged; print(*packaged.names(), packaged.__file__)"
    *names, place = run([sys.executable, "-c", code], tmp_path, installed).split()
    assert names == packaged.names()
    assert Path(place).is_relative_to(installed)
    code = "import sys, semiprune_jax as sp; sp.run(*sys.argv[1:], until='label')"
    assert "done before" in run([sys.executable, "-c", code, "digits:smoke", "w"], tmp_path, installed)


def test_importing_it_loads_nothing_heavy():
    code = "import sys, semiprune_jax; print({'jax', 'numpy', 'absl', 'ml_collections'} & set(sys.modules))"
    assert run([sys.executable, "-c", code], ROOT, ROOT) == "set()\n"
    code = "import sys, semiprune_jax as sp; sp.scores.aum, sp.selection.top; print('jax' in sys.modules)"
    assert run([sys.executable, "-c", code], ROOT, ROOT) == "False\n"


def test_public_names():
    from semiprune_jax import Dynamics, scores, selection
    from semiprune_jax.select import selectors
    from semiprune_jax.train import dynamics

    assert (Dynamics, selection) == (dynamics.Dynamics, selectors)
    assert scores.__name__ == "semiprune_jax.select.scores"
    assert dir(semiprune_jax) == ["Dynamics", "__version__", "run", "scores", "selection"]
    for name in dir(semiprune_jax):
        assert getattr(semiprune_jax, name)
    with pytest.raises(AttributeError, match="'semiprune_jax' has no attribute 'nope'"):
        _ = semiprune_jax.nope
