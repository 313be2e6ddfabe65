"""The page for people who come from PyTorch: what stands on its right-hand side runs."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parent.parent / "docs" / "from-pytorch.md").read_text(encoding="utf-8")
SETTING = re.search(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)[1]
ROWS = re.findall(r"^\| `(.+)` \| `(.+)` \|$", PAGE, re.MULTILINE)


def test_every_line_of_the_tables_is_a_row_of_two_pieces_of_code():
    lines = [line for line in PAGE.splitlines() if line.startswith("|")]
    heads = [line for line in lines if line in ("| PyTorch | numformer |", "|---|---|")]
    assert len(lines) - len(heads) == len(ROWS) > 100
    assert not [row for row in ROWS if " | " in row[0] + row[1]]


@pytest.mark.parametrize("code", [code for _, code in ROWS])
def test_the_right_hand_side_of_a_row_runs(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some rows write files
    names = {}
    exec(SETTING, names)
    exec(compile(code, "from-pytorch.md", "exec"), names)
