"""The program as a person starts it: exit codes, one-line errors, a real kill."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from semiprune_jax import __version__, main
from semiprune_jax.config import schema
from semiprune_jax.distributed import preemption
from semiprune_jax.errors import DataError
from tests import small

ROOT = Path(__file__).parent.parent
CONFIG = """
from tests.small import config
def get_config():
    return config()
"""


def command(tmp_path, *flags):
    path = tmp_path / "small_config.py"
    path.write_text(CONFIG)
    return [sys.executable, "-m", "semiprune_jax.main", f"--config={path}", f"--workdir={tmp_path / 'w'}", *flags]


def environment():
    """A person's environment: Python buffers output to a file or a pipe."""
    own = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return own | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}


def start(arguments, cwd=ROOT, **variables):
    env = environment() | variables
    return subprocess.run(arguments, capture_output=True, text=True, cwd=cwd, env=env, check=False)


def test_help_is_quick_and_complete():
    began = time.monotonic()
    done = start([sys.executable, "-m", "semiprune_jax.main", "--help"])
    assert done.returncode == 0
    assert time.monotonic() - began < 2
    for word in (*main.VERBS, "--config", "--workdir", "--until", "--overwrite"):
        assert word in done.stdout
    for flag in main._FLAGS:
        assert f"--{flag.name}=" in done.stdout
    for section in schema.SECTIONS:
        assert f"\n--config.{section}\n" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


@pytest.mark.parametrize("flag", ["--help=ssl", "-help=fixmatch"])
def test_help_of_a_section(capsys, flag):
    assert main.main(["semiprune", "run", flag]) == 0
    out = capsys.readouterr().out
    assert out.startswith("--config.ssl\n")
    assert "learner=fixmatch" in out
    assert "--workdir" not in out


def test_help_of_an_unknown_section(capsys):
    assert main.main(["semiprune", "run", "--help=sll"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("semiprune: --help=sll: there is no such section; expected one of data, ")
    assert len(printed.err.splitlines()) == 1


@pytest.mark.parametrize("module", ["semiprune_jax", "semiprune_jax.main"])
def test_without_arguments_it_says_how_it_is_used(module):
    done = start([sys.executable, "-m", module])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: semiprune [VERB] --config=CONFIG --workdir=DIR ")


def test_version(capsys):
    """It leaves the caller's reaction to a closed pipe as it was."""
    before = signal.getsignal(signal.SIGPIPE)
    assert main.main(["semiprune", "--version"]) == 0
    assert capsys.readouterr().out == f"semiprune_jax {__version__}\n"
    assert signal.getsignal(signal.SIGPIPE) is before == signal.SIG_IGN


def test_a_packaged_config_by_name(tmp_path):
    """A file of that name comes first. Former names of fields are noted."""
    flags = ["--workdir", "w", "--until=label", "--config.model.fixmatch=resnet8", "--config.fixmatch.steps=11"]
    done = start([sys.executable, "-m", "semiprune_jax", "--config", "digits:smoke", *flags], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == [
        "note: --config.model.fixmatch is named --config.model.ssl now; the old name is still read",
        "note: --config.fixmatch is named --config.ssl now; the old name is still read",
    ]
    config = json.loads((tmp_path / "w" / "config.json").read_text())
    assert config["data"]["limit_per_class"] == 20
    assert (config["ssl"]["steps"], config["model"]["ssl"]) == (11, "resnet8")
    assert "fixmatch" not in config
    (tmp_path / "digits").write_text("def get_config():\n    raise ValueError('a file of that name')\n")
    done = start([sys.executable, "-m", "semiprune_jax", "--config=digits", *flags], cwd=tmp_path)
    assert (done.returncode, "a file of that name" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 4),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes\nmore"), 4),
        (KeyboardInterrupt(), 130),
    ],
)
def test_trouble_from_outside_is_a_line_and_a_code(monkeypatch, capsys, error, code):
    def fail(argv):
        raise error

    monkeypatch.setattr(main, "_command", fail)
    assert main.main([]) == code
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_what_files_hold_is_not_obeyed_by_the_terminal(monkeypatch, capsys):
    """Control characters are escaped; a data error stays on one line."""

    def fail(argv):
        raise DataError("columns \x1b[31m, a\nb")

    monkeypatch.setattr(main, "_command", fail)
    assert main.main([]) == 3
    assert capsys.readouterr().err == "semiprune: columns \\x1b[31m, a\\nb\n"


def test_deterministic_kernels_are_asked_for_before_jax_starts(tmp_path):
    """The compiler reads its flags once, so the test starts a process."""
    pool = small.write_npz(tmp_path / "pool.npz")
    flags = [f"--config.data.path={pool}", "--until=label", "--config.runtime.deterministic=True"]
    arguments = command(tmp_path, *flags)
    code = "import os, sys; from semiprune_jax import main; print(main.main(sys.argv), os.environ['XLA_FLAGS'])"
    done = start([sys.executable, "-c", code, *arguments[3:]])
    assert re.fullmatch("0 .* --xla_gpu_deterministic_ops=true", done.stdout.splitlines()[-1]), done.stderr


def test_a_bug_of_ours_stays_visible(monkeypatch):
    monkeypatch.setattr(main, "_command", lambda argv: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main.main([])


def struck(tmp_path, number, *flags):
    """Sends the command a signal during FixMatch; returns its exit code, its output and its errors."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command(tmp_path, *flags), cwd=ROOT, env=environment(), text=True, **pipes)
    small.wait_for_lines(tmp_path / "w" / "metrics.jsonl", 6)
    process.send_signal(number)
    lines, told = process.communicate()
    return process.returncode, lines, told


STRUCK = ["--until=pseudolabel", "--config.ssl.steps=90", "--config.runtime.log_every_steps=3"]
STRUCK += ["--config.ssl.eval_every_steps=90"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A pool's file, and the pseudo-labels of an undisturbed run on it."""
    directory = tmp_path_factory.mktemp("undisturbed")
    pool = small.write_npz(directory / "pool.npz")
    done = start(command(directory, f"--config.data.path={pool}", *STRUCK))
    assert done.returncode == 0, done.stderr
    return pool, (directory / "w/pseudolabel/pseudolabels.parquet").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_struck_it_goes_on(tmp_path, undisturbed, number):
    """After a signal during a training, the same command gives the result of an undisturbed run."""
    pool, expected = undisturbed
    flags = [*STRUCK, f"--config.data.path={pool}"]
    flags += [f"--config.runtime.checkpoint_every_steps={3 if number == signal.SIGKILL else 0}"]
    code, lines, told = struck(tmp_path, number, *flags)
    assert lines.startswith("label  ")  # not buffered, since a kill would lose the line
    words = {
        signal.SIGTERM: (42, r"semiprune: pseudolabel: preempted, and saved at step \d+ of 90; run the same command"),
        signal.SIGINT: (130, "semiprune: interrupted; the same command goes on from the last checkpoint"),
        signal.SIGKILL: (-signal.SIGKILL, ""),
    }
    assert code == words[number][0], told
    assert re.search(words[number][1], told)
    assert "Traceback" not in told
    stage = tmp_path / "w" / "pseudolabel"
    assert not (stage / "DONE.json").exists()
    if number == signal.SIGTERM:
        assert any((stage / "checkpoints").iterdir())
    done = start(command(tmp_path, *flags))
    assert done.returncode == 0, done.stderr
    assert (stage / "pseudolabels.parquet").read_bytes() == expected
    starts = json.loads((tmp_path / "w" / "manifest.json").read_text())["starts"]
    assert len(starts) == 2


def test_a_terminal_without_the_letters_of_a_path(tmp_path):
    flags = [f"--config.data.path={small.write_npz(tmp_path / 'pool.npz')}", f"--workdir={tmp_path / '图片'}"]
    for verb in ("--until=label", "report"):
        done = start(command(tmp_path, *flags, verb), PYTHONIOENCODING="ascii")
        assert done.returncode == 0, done.stderr
    assert "\\u56fe\\u7247/report/index.html" in done.stdout


@pytest.mark.parametrize(
    ("verb", "code", "told"),
    [
        ("run", 4, "semiprune: nobody reads the output any more; the same command goes on\n"),
        ("plan", -signal.SIGPIPE, ""),
    ],
)
def test_of_a_reader_that_has_gone(tmp_path, verb, code, told):
    """As with ``| head``, but the reader goes before the first line."""
    flags = [f"--config.data.path={small.write_npz(tmp_path / 'pool.npz')}", "--until=label"]
    reading, writing = os.pipe()
    os.close(reading)
    pipes = {"stdout": writing, "stderr": subprocess.PIPE}
    done = subprocess.run(command(tmp_path, *flags, verb), cwd=ROOT, env=environment(), text=True, check=False, **pipes)
    os.close(writing)
    assert (done.returncode, done.stderr) == (code, told)


def test_told_to_stop_while_it_ends_it_ends_as_it_is():
    """Schedulers may send SIGTERM more than once."""
    code = "import os; from semiprune_jax.distributed import preemption as p; p.install_handler(); p.ignore_sigterm()"
    assert start([sys.executable, "-c", f"{code}; os.kill(os.getpid(), 15)"]).returncode == 0


def test_told_to_stop_between_trainings_it_ends_at_once(monkeypatch, capsys):
    """The exit code is 42, and a second SIGTERM does not cut the orderly end short."""

    def work(argv):
        preemption.install_handler()
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(main, "_command", work)
    monkeypatch.setattr(preemption._Notice, "asked", False)
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert main.main([]) == 42
        signal.raise_signal(signal.SIGTERM)  # a second one
    finally:
        signal.signal(signal.SIGTERM, before)
    assert capsys.readouterr().err == "semiprune: preempted; run the same command again to go on\n"
