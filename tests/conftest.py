"""Four virtual CPU devices, strict shapes, and small pools that the tests share."""

import os
import signal
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from absl import flags

from tests.small import COMPILED

# These options must be set before any device is used.
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
# XLA compiles sooner under these flags, and compilation is most of the suite's time. At level 0 it would compile sooner
# still, but a step would take ten times as long. The programs that tests start inherit the flags.
quick = ["--xla_backend_extra_options=xla_cpu_disable_loop_unrolling", "--xla_backend_optimization_level=1"]
if jax.__version_info__ < (0, 11):  # later versions lack this flag, and a program ends at a flag that is unknown
    quick.append("--xla_cpu_use_fusion_emitters=false")
os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *quick])
for option, value in COMPILED.items():
    jax.config.update(option, value)
    os.environ[option.upper()] = str(value)  # for the programs that tests start
# Background jobs ignore Ctrl-C, and the programs that tests start would inherit this.
signal.signal(signal.SIGINT, signal.default_int_handler)

sys.path.insert(0, str(Path(__file__).parent.parent))  # configs/, which is not part of the package

# Libraries read absl's flags, which otherwise only the main function of a program parses.
flags.FLAGS.mark_as_parsed()


@pytest.fixture(scope="session")
def digits():
    """The digits as a Dataset."""
    from tests import small

    return small.dataset("digits")


@pytest.fixture
def tiny_config():
    """A config that runs every stage in seconds."""
    from tests.small import config

    return config()


@pytest.fixture
def rng():
    return np.random.default_rng(0)
