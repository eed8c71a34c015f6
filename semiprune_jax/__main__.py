"""``python -m semiprune_jax``: the program ``semiprune``."""

from semiprune_jax.main import cli

if __name__ == "__main__":
    cli()
