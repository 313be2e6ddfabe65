import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numformer.data.files.delimited import MAX_ROW, Lines, QuoteError, quoted, read_row, read_tab_row, unquoted


def rows_of(text, delimiter=",", width=None):
    """Return the fields of every row, and for a quotation mark that does not fit the line where it opened."""
    lines, found = Lines(text.split("\n")), []
    while True:
        try:
            row = read_row(lines, delimiter, width)
        except QuoteError as error:
            found.append(error.lines[-1][0])
            continue
        if not row.lines:
            return found
        found.append(row.fields)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a,b", [["a", "b"]]),
        ("a,,", [["a", "", ""]]),
        ('"a,b",c', [["a,b", "c"]]),
        ('"a""b","",""""', [['a"b', "", '"']]),
        ('"a\nb",c\nd,e', [["a\nb", "c"], ["d", "e"]]),
        ('"a\n\n ""\nb",c', [['a\n\n "\nb', "c"]]),
        ('x,"a\n","b\nc"', [["x", "a\n", "b\nc"]]),
        ('a, "b, c" ,d', [["a", "b, c", "d"]]),
        (' "a"\t,b', [["a", "b"]]),
        ('a 5" disc,b"c"', [['a 5" disc', 'b"c"']]),
        ("a\n\n \t\nb", [["a"], ["b"]]),
        (" , \n", [[" ", " "]]),
    ],
)
def test_rows_are_read_by_the_rules_of_csv(text, rows):
    assert rows_of(text) == rows


@pytest.mark.parametrize("delimiter", [";", "\t", "|", "^"])
def test_any_character_can_be_the_delimiter(delimiter):
    text = 'a,"b"\n"c;d,\t|^e"\n'.replace(",", delimiter, 1)
    assert rows_of(text, delimiter) == [["a", "b"], ["c;d,\t|^e"]]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('a,"b\nc,d\ne,f', [1, ["c", "d"], ["e", "f"]]),  # the end of the file
        ('"a"b,c\nd,e', [1, ["d", "e"]]),  # text after the end
        ('"a,b\nc "d" e,f', [1, ['c "d" e', "f"]]),
        ('"a\nb","c\nd,e', [2, ["d", "e"]]),  # the second field of the row is the one that is open
        ('a,b,"c\nd,e', [1, ["d", "e"]]),  # beyond the columns of the table
    ],
)
def test_a_quotation_mark_that_does_not_fit_costs_the_row_where_it_opened(text, rows):
    assert rows_of(text, width=2) == rows


def test_a_row_that_never_ends_is_given_up():
    lines = Lines(['"a', *["b" * 2**20] * (MAX_ROW // 2**20 + 2)])
    with pytest.raises(QuoteError, match="never closed"):
        read_row(lines, ",")
    assert next(lines) == (2, "b" * 2**20)


@pytest.mark.parametrize("line", ['"a', 'a,"b', '"""a', 'a"b,"c', 'a",b,"c', 'x""","c', ',"', '""""" ",a', 'a,"" ""'])
def test_quotation_marks_on_every_line_take_time_in_proportion(line):
    start = time.perf_counter()
    rows_of("\n".join([line] * 30_000), width=2)
    assert time.perf_counter() - start < 2  # 0.1 s; were every line read again from each one before, hours


def test_the_first_open_quotation_mark_of_a_row_is_known():
    row = read_row(Lines(['"x", "a', 'b","c', 'd"']), ",")
    assert row.fields == ["x", "a\nb", "c\nd"]
    assert row.opened == (0, 5, 1)  # its line in the row, its place in the line, its column
    assert read_row(Lines(['"a",b']), ",").opened is None


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ('"a ""b"" c"', 'a "b" c'),
        ('"a"', "a"),
        ('""', ""),
        ('"', '"'),
        ('"""', '"""'),
        ('"Great" film', '"Great" film'),
        ('a "b"', 'a "b"'),
        ('"a" and "b"', '"a" and "b"'),
        (' "a" ', "a"),
    ],
)
def test_a_field_of_tsv_is_unquoted_where_the_marks_inside_are_doubled(field, text):
    assert unquoted(field) == text


@given(st.text(st.sampled_from('ab" ')))
def test_what_is_quoted_for_tsv_is_read_as_it_was(text):
    assert unquoted(quoted(text.strip())) == text.strip()


def test_a_line_of_tsv_is_a_row():
    lines = Lines(['"Hello there\tpos', "", "plain one\tneg", 'he said so"\t"pos"', " \t"])
    rows = [read_tab_row(lines) for _ in range(5)]
    assert [row.fields for row in rows] == [
        ['"Hello there', "pos"],
        ["plain one", "neg"],
        ['he said so"', "pos"],
        ["", ""],
        [],
    ]
    assert [row.lines[0][0] for row in rows[:-1]] == [1, 3, 4, 5]
