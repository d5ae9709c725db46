"""The table of complaints in tests/README.md: every test that it names exists and is run."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TABLE = (ROOT / "tests" / "README.md").read_text("utf-8").partition("## Complaints answered")[2].partition("\n## ")[0]
ROWS = [line.strip("|").split("|") for line in TABLE.splitlines() if line.startswith("| ") and "`test_" in line]
SOURCES = "\n".join(path.read_text("utf-8") for path in ROOT.glob("tests/**/test_*.py"))
TESTS = set(re.findall(r"^ *def (test_\w+)", SOURCES, re.M))


def test_there_is_a_table():
    assert len(ROWS) >= 30


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].strip()[:40])
def test_every_complaint_has_its_test(row):
    named = re.findall(r"`(\w+)`", row[1])
    assert named and set(named) <= TESTS, sorted(set(named) - TESTS)
