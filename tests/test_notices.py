"""What is said besides results: counts in words, lists that fit a line, and one way to stderr."""

from pathlib import Path

import pytest

import numformer
from numformer._notices import amount, few, listed

SOURCE = Path(numformer.__file__).parent
LIVE = {"_notices.py", "cli/shared/counter.py", "cli/models.py"}  # beside `say`: a line that is drawn over


@pytest.mark.parametrize(("count", "said"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (5452, "5,452 rows")])
def test_one_thing_is_said_in_the_singular(count, said):
    assert amount(count, "rows") == said


def test_of_many_names_the_first_ten_are_said():
    assert few("abcdefghij") == "a, b, c, d, e, f, g, h, i, j"
    assert few("abcdefghijk") == "a, b, c, d, e, f, g, h, i, j, …"
    assert few(iter("ab"), between=" / ") == "a / b"
    assert few([]) == ""


def test_names_in_an_error_fit_a_line():
    assert listed(["text", "a b"]) == "'text', 'a b'"
    assert listed([]) == "none"
    long = listed(f"column{number}" for number in range(100))
    assert long.endswith(", …")
    assert 180 < len(long) <= 200


def test_whatever_is_said_on_stderr_goes_one_way():
    printing = {
        str(file.relative_to(SOURCE)) for file in SOURCE.rglob("*.py") if "file=sys.stderr" in file.read_text("utf-8")
    }
    assert printing <= LIVE
