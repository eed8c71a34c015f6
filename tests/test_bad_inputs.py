"""Every case of tests/bad_inputs.py, and that the table in tests/README.md shows them."""

import json
import re
import subprocess
import sys

from tests import bad_inputs


def test_every_bad_input_ends_in_one_line_and_its_exit_code():
    done = subprocess.run(
        [sys.executable, "-m", "tests.bad_inputs", "--json"],
        capture_output=True, text=True, check=False, cwd=bad_inputs.README.parent.parent,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert len(found) == len(bad_inputs.CASES)
    troubles = {case["what"]: (case["trouble"], case["printed"]) for case in found if case["trouble"]}
    assert not troubles
    assert done.returncode == 0


def test_the_readme_lists_every_case():
    rows = re.findall(r"^\| (.+?) \| (\d+) \| (.+) \|$", bad_inputs.README.read_text(), re.MULTILINE)
    assert [(what, int(code)) for what, code, _ in rows] == [(case.what, case.code) for case in bad_inputs.CASES]
    for case, (_, _, printed) in zip(bad_inputs.CASES, rows, strict=True):
        assert len(printed) > 390 or re.search(case.says.replace(r"\n.*", " "), printed.replace("\\|", "|")), case.what
