"""The launch scripts: the commands that they run, and their reactions to exit codes and signals.

Stand-ins replace python, srun, scontrol and gcloud.
"""

import os
import signal
import subprocess
from pathlib import Path

import pytest
import yaml

from tests import small

LAUNCH = Path(__file__).parent.parent / "launch"
RUN = "-m semiprune_jax.main --config=c.py --workdir=w"


def stand_in(directory, name, script):
    """Writes an executable that the scripts find on their path."""
    path = directory / name
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)


def launch(tmp_path, script, *arguments):
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    command = ["bash", str(LAUNCH / script), *arguments]
    return subprocess.Popen(command, text=True, env=environment, cwd=tmp_path, **pipes)


def run(tmp_path, script, *arguments):
    process = launch(tmp_path, script, *arguments)
    printed = process.communicate(timeout=60)[0]
    return process.returncode, printed


@pytest.mark.parametrize(
    ("script", "first", "lines"),
    [
        ("local.sh", [], [f"python {RUN}"]),
        ("slurm.sbatch", [], [f"srun --kill-on-bad-exit=0 --gpu-bind=none python {RUN}"]),
        ("multiprocess.sh", ["2"], ["--num_processes=2 --process_id=0", "--num_processes=2 --process_id=1"]),
        ("tpu_pod.sh", ["pod", "zone"], ["gcloud compute tpus tpu-vm ssh pod --zone=zone --worker=all --command="]),
    ],
)
def test_dry_run_prints_and_runs_nothing(tmp_path, script, first, lines):
    for name in ("srun", "gcloud"):
        stand_in(tmp_path, name, "touch ran")
    code, printed = run(tmp_path, script, "--dry-run", *first, "--config=c.py", "--workdir=w")
    assert code == 0
    assert len(printed.splitlines()) == len(lines)
    for expected, line in zip(lines, printed.splitlines(), strict=True):
        assert expected in line
        assert "semiprune_jax.main" in line
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("codes", "expected"), [([0], 0), ([42, 42, 0], 0), ([42, 3], 3), ([130], 130)])
def test_local_runs_again_for_as_long_as_it_is_asked_to(tmp_path, codes, expected):
    (tmp_path / "codes").write_text("\n".join(map(str, codes)) + "\n")
    stand_in(tmp_path, "python", "echo $@ >>ran; code=$(head -1 codes); sed -i 1d codes; exit $code")
    assert run(tmp_path, "local.sh", "--config=c.py", "--workdir=w")[0] == expected
    assert (tmp_path / "ran").read_text() == f"{RUN}\n" * len(codes)


def test_processes_run_again_together(tmp_path):
    """Both processes are preempted; then one fails, and its code counts."""
    stand_in(
        tmp_path,
        "python",
        'if [ "$1" = -c ]; then echo 4444; exit; fi; me=${@: -1}; echo "$CUDA_VISIBLE_DEVICES $@" >>ran\n'
        'if [ $(grep -c -- "$me" ran) = 1 ]; then exit 42; fi; [ "$me" = --process_id=1 ] && exit 3; exit 0',
    )
    code, printed = run(tmp_path, "multiprocess.sh", "2", "--config=c.py", "--workdir=w")
    assert code == 3, printed
    ran = sorted((tmp_path / "ran").read_text().splitlines())
    flags = "--coordinator=127.0.0.1:4444 --num_processes=2"
    assert ran == [f"{i} {RUN} {flags} --process_id={i}" for i in (0, 0, 1, 1)]


@pytest.mark.parametrize(("script", "first"), [("local.sh", []), ("multiprocess.sh", ["2"])])
def test_told_to_stop_it_tells_and_does_not_start_again(tmp_path, script, first):
    stand_in(
        tmp_path,
        "python",
        'if [ "$1" = -c ]; then echo 4444; exit; fi; trap "echo told >>ran; exit 42" TERM; echo began >>ran\n'
        "while true; do sleep 0.05; done",
    )
    process = launch(tmp_path, script, *first, "--config=c.py", "--workdir=w")
    ran, count = tmp_path / "ran", int(first[0]) if first else 1
    small.wait_for_lines(ran, count)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 42
    assert ran.read_text().splitlines().count("told") == count
    assert ran.read_text().splitlines().count("began") == count


@pytest.mark.parametrize(("code", "queued"), [(42, True), (0, False), (6, False)])
def test_slurm_queues_again_what_was_preempted(tmp_path, code, queued):
    stand_in(tmp_path, "srun", f"exit {code}")
    stand_in(tmp_path, "scontrol", 'echo "$@" >>queued')
    assert run(tmp_path, "slurm.sbatch", "--config=c.py", "--workdir=w")[0] == code
    assert (tmp_path / "queued").exists() == queued
    if queued:
        assert (tmp_path / "queued").read_text() == "requeue 7\n"


@pytest.mark.parametrize(
    ("said", "expected", "times"),
    [([[0, 0]], 0, 1), ([[42, 42], [0, 0]], 0, 2), ([[42, 3]], 3, 1), ([[]], 4, 1)],
)
def test_a_pod_runs_again_on_all_machines(tmp_path, said, expected, times):
    for i, codes in enumerate(said):
        (tmp_path / f"said{i + 1}").write_text("".join(f"semiprune ended with {code}\n" for code in codes))
    stand_in(tmp_path, "gcloud", 'echo "$@" >>ran; cat said$(grep -c worker=all ran)')
    code, printed = run(tmp_path, "tpu_pod.sh", "pod", "zone", "--config=c.py", "--workdir=my dir")
    assert code == expected, printed
    ran = (tmp_path / "ran").read_text().splitlines()
    assert len(ran) == times
    assert "--workdir=my\\ dir" in ran[0]


@pytest.mark.parametrize(("script", "arguments"), [("multiprocess.sh", ["--config=c.py"]), ("tpu_pod.sh", ["pod"])])
def test_usage(tmp_path, script, arguments):
    code, printed = run(tmp_path, script, *arguments)
    assert code == 2
    assert printed.startswith(f"usage: launch/{script} ")


def test_kubernetes_counts_its_nodes_the_same_everywhere():
    """Without a cluster, a test can only check that the file is YAML and its counts agree."""
    jobset = yaml.safe_load((LAUNCH / "kubernetes.yaml").read_text())
    (workers,) = jobset["spec"]["replicatedJobs"]
    job = workers["template"]["spec"]
    (container,) = job["template"]["spec"]["containers"]
    name, port = jobset["metadata"]["name"], container["ports"][0]["containerPort"]
    assert container["args"][:3] == [
        f"--coordinator={name}-{workers['name']}-0-0.{name}:{port}",
        f"--num_processes={job['parallelism']}",
        "--process_id=$(INDEX)",
    ]
    assert job["completions"] == job["parallelism"]
    rules = {rule["action"]: rule["onExitCodes"]["values"] for rule in job["podFailurePolicy"]["rules"]}
    assert rules == {"Ignore": [42], "FailJob": [1, 2, 3, 6]}
