"""Warnings that stages give before anything is trained."""

from collections.abc import Iterator, Mapping

from semiprune_jax.stages.context import Context
from semiprune_jax.train import diagnostics


def slow_averages(context: Context, stage: str, section: str, steps: int, averages: Mapping[str, str]) -> Iterator[str]:
    """Warns of moving averages too slow for a run of ``steps``, unless the stage has been done already.

    Args:
      section: the config section whose fields hold the decays.
      averages: field -> the name of the averaged values.
    """
    for field, averaged in averages.items():
        decay = context.config[section][field]
        warning = diagnostics.slow_average(f"{section}.{field}", decay, steps, averaged)
        if warning and not any(context.workdir.glob(f"{stage}/**/DONE.json")):
            yield warning
