"""Every case of tests/bad_inputs, and the table in tests/README.md that shows them."""

import json
import re
import subprocess
import sys
from pathlib import Path

from tests.bad_inputs.cases import CASES

TESTS = Path(__file__).parent


def test_every_bad_input_ends_in_one_line_and_its_exit_code():
    command = [sys.executable, "-m", "tests.bad_inputs", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=TESTS.parent)
    found = json.loads(done.stdout)
    assert len(found) == len(CASES)
    troubles = {case["what"]: (case["trouble"], case["printed"]) for case in found if case["trouble"]}
    assert not troubles
    assert done.returncode == 0


def test_the_readme_lists_every_case():
    rows = re.findall(r"^\| (.+?) \| (\d+) \| (.+) \|$", (TESTS / "README.md").read_text(), re.MULTILINE)
    assert [(what, int(code)) for what, code, _ in rows] == [(case.what, case.code) for case in CASES]
    for case, (_, _, printed) in zip(CASES, rows, strict=True):
        assert len(printed) > 390 or re.search(case.says.replace(r"\n.*", " "), printed.replace("\\|", "|")), case.what
