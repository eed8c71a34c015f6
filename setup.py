"""Which packages are installed, ``configs/`` as ``semiprune_jax.configs``; pyproject.toml has all the rest."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["semiprune_jax*"]), "semiprune_jax.configs"],
    package_dir={"semiprune_jax.configs": "configs"},
)
