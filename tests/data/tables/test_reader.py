import gzip
import itertools

import pytest

from numformer.data.tables.reader import TABLES, read_table
from numformer.errors import InputError


def table(folder, text, name="rows.csv", wanted=("text", "label"), **options):
    (folder / name).write_text(text, encoding="utf-8", newline="")
    return read_table(folder / name, wanted=wanted, **options)


def rows(folder, text, *arguments, **options):
    return [row for _, row in table(folder, text, *arguments, **options)]


SAME = {
    "rows.csv": "text,label\na,x\nb,y\n",
    "rows.tsv": "text\tlabel\na\tx\nb\ty\n",
    "rows.jsonl": '{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n',
    "rows.json": '[{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]',
}


@pytest.mark.parametrize("name", SAME)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_every_kind_of_table_gives_the_same_rows(name, suffix, tmp_path):
    data = SAME[name].encode()
    (tmp_path / (name + suffix)).write_bytes(gzip.compress(data) if suffix else data)
    found = read_table(tmp_path / (name + suffix), wanted=("text",))
    assert found.names == ["text", "label"]
    assert [row for _, row in found] == [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]
    assert found.notes == []
    assert set(SAME) == {f"rows{each}" for each in TABLES}


def test_rows_come_with_their_places(tmp_path):
    found = table(tmp_path, 'text,label\n\n"a\nb",x\n\nc,y\n')
    assert [where.removeprefix(str(tmp_path)) for where, _ in found] == ["/rows.csv, line 3", "/rows.csv, line 6"]


def test_names_and_fields_come_without_blanks(tmp_path):
    text = '\ufeff text , label \n I like it, pos \n"a" , b\n'
    assert rows(tmp_path, text) == [{"text": "I like it", "label": "pos"}, {"text": "a", "label": "b"}]


# Delimiters.


@pytest.mark.parametrize(("delimiter", "named"), [(";", "semicolons"), ("\t", "TABs"), ("|", "bars")])
def test_the_delimiter_is_the_one_that_finds_the_wanted_columns(delimiter, named, tmp_path):
    found = table(tmp_path, f'"text, all"{delimiter}text{delimiter}label\na, b{delimiter}c{delimiter}x\n')
    assert [row for _, row in found] == [{"text, all": "a, b", "text": "c", "label": "x"}]
    assert found.notes == [f"columns between {named}"]


def test_a_header_without_the_wanted_columns_is_split_where_only_one_delimiter_can(tmp_path):
    assert rows(tmp_path, "question;answer\na;b, c\n") == [{"question": "a", "answer": "b, c"}]


@pytest.mark.parametrize(
    ("text", "delimiter"), [("sep=;\n", ";"), ('"sep=|"\n', "|"), ("sep=\t\n", "\t"), ("sep=^\r\n", "^")]
)
def test_excel_says_the_delimiter_in_a_first_line(text, delimiter, tmp_path):
    assert rows(tmp_path, f"{text}a,b{delimiter}text\n1{delimiter}2\n") == [{"a,b": "1", "text": "2"}]


def test_a_header_that_two_delimiters_split_is_refused_with_the_header(tmp_path):
    with pytest.raises(
        InputError, match=r"rows\.csv: the header 'a,b;c' can be split at commas or semicolons; expected the"
    ):
        table(tmp_path, "a,b;c\n1,2;3\n")
    assert rows(tmp_path, "a,b;c\n1,2;3\n", wanted=["c"]) == [{"a,b": "1,2", "c": "3"}]


def test_a_header_of_one_column_is_one(tmp_path):
    assert rows(tmp_path, "text\na;b\n", wanted=["text"]) == [{"text": "a;b"}]


def test_tsv_is_split_at_tabs_where_its_header_has_one(tmp_path):
    assert rows(tmp_path, "text,label\tb\n1\t2\n", "rows.tsv") == [{"text,label": "1", "b": "2"}]


def test_a_table_named_tsv_without_a_tab_in_its_header_is_read_as_csv(tmp_path):
    found = table(tmp_path, 'text,label\n"a\nb",x\n', "rows.tsv")
    assert [row for _, row in found] == [{"text": "a\nb", "label": "x"}]
    assert found.notes == ["columns between commas", "1 over several lines"]


# Rows of another width.


@pytest.mark.parametrize(
    ("row", "fields"),
    [("a,x,,", "ax"), ("a,x,, ", "ax"), (",", "  "), (",,,,", "  "), ("a,", "a "), (" ,x", " x")],
)
def test_blank_fields_are_read_and_beyond_the_header_do_not_count(row, fields, tmp_path):
    assert rows(tmp_path, f"text,label\n{row}\n") == [{"text": fields[0].strip(), "label": fields[1].strip()}]


@pytest.mark.parametrize(("row", "count"), [("a", "1 column"), ("a,b,c", "3 columns"), ("a,b,,c", "4 columns")])
def test_a_row_of_another_width_is_an_error_in_its_place(row, count, tmp_path):
    before, error, after = rows(tmp_path, f"text,label\na,x\n{row}\nb,y\n")
    assert (before["text"], after["text"]) == ("a", "b")
    assert str(error).endswith(f"rows.csv, line 3: got {count}, expected 2 as in the header")


def test_columns_without_a_name_may_hold_anything_or_be_absent(tmp_path):
    text = ",text,label,,\n0,a,x,note,\n1,b,y\n2,c,z,,more\n"
    assert [(row["text"], row["label"]) for row in rows(tmp_path, text)] == [("a", "x"), ("b", "y"), ("c", "z")]


def test_a_column_that_is_there_twice_can_be_chosen_by_nobody(tmp_path):
    found = table(tmp_path, "n,n,text,label\n1,2,a,x\n")
    assert found.column("text", "text") == "text"
    with pytest.raises(InputError, match=r"rows\.csv, line 1: the header names the column 'n' more than once"):
        found.column("n", "text")


def test_a_column_that_is_missing_is_an_error_that_names_the_option(tmp_path):
    with pytest.raises(InputError, match=r"rows\.jsonl, line 1: .*'body' .*\(the columns are 'a'\); .* with --text$"):
        table(tmp_path, '{"a": 1}', "rows.jsonl").column("body", "text")


# Quotation marks.


def test_rows_go_on_after_a_quotation_mark_that_is_not_closed(tmp_path):
    error, *others = rows(tmp_path, 'text,label\n"a,x\nb,y\nc,z\n')
    assert str(error).endswith("rows.csv, line 2: the quotation mark opened here is never closed")
    assert [row["text"] for row in others] == ["b", "c"]


GLUED = 'id,text,score\n1,"Hello there,4.5\n2,plain one,3.0\n3,he said so",5.0\n4,fine,1.5\n'


def test_a_watched_column_finds_rows_in_a_field(tmp_path):
    assert len(rows(tmp_path, GLUED, wanted=["text"])) == 2
    found = table(tmp_path, GLUED, wanted=["text"])
    found.watch("score", lambda value: value.replace(".", "").isdigit())
    (_, error), *others = found
    assert "line 2: the quotation mark opened here takes the next lines into its field" in str(error)
    assert [row["id"] for _, row in others] == ["2", "3", "4"]


def test_a_watched_column_knows_by_itself_what_stands_in_rows_of_one_line(tmp_path):
    for swallowed, count in (("4.5", 2), ("1.5", 4)):  # only 1.5 stands in another row too
        found = table(tmp_path, GLUED.replace("4.5", swallowed), wanted=["text"])
        found.watch("score")
        assert len(list(found)) == count


def test_a_broken_header_is_refused_in_its_place(tmp_path):
    with pytest.raises(InputError, match=r"rows\.csv, line 2: the quotation mark opened here is never closed"):
        table(tmp_path, '\n"text,label\na,x\n')


# Streaming.


def test_a_table_without_rows_has_no_names(tmp_path):
    for name, text in (("a.csv", "\n \n"), ("a.tsv", "\n"), ("a.jsonl", "\n")):
        assert (table(tmp_path, text, name).names, rows(tmp_path, text, name)) == ([], [])


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv", "rows.jsonl"])
def test_rows_are_read_in_constant_memory(name, tmp_path, measure_bytes):
    head, row = {
        "rows.csv": ("text,label\n", '"a text, of ""words""",x\n'),
        "rows.tsv": ("text\tlabel\n", "a text of words\tx\n"),
        "rows.jsonl": ("", '{"text": "a text of words", "label": "x"}\n'),
    }[name]
    found = table(tmp_path, head + row * 20_000, name)
    count, _, peak = measure_bytes(lambda: sum(1 for _ in found))
    assert count == 20_000
    assert peak < 300_000


def test_the_first_rows_come_before_the_last_are_read(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"text\n" + b"a\n" * 100_000 + b"\xff")
    assert len(list(itertools.islice(read_table(tmp_path / "a.csv"), 1000))) == 1000


def test_another_kind_of_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"comes in a \.csv, \.tsv, \.jsonl or \.json file, got .*a\.txt"):
        read_table(tmp_path / "a.txt")


# Objects that are unlike each other.


def test_the_columns_of_json_are_the_keys_of_any_of_the_first_objects(tmp_path):
    found = table(tmp_path, '{"id": 1}\n3\n{"id": 2, "text": "a", "label": "x"}\n', "rows.jsonl")
    assert (found.names, found.is_regular) == (["id", "text", "label"], False)
    assert [isinstance(row, InputError) for _, row in found] == [False, True, False]
    assert table(tmp_path, SAME["rows.jsonl"], "rows.jsonl").is_regular


def test_a_row_is_found_in_any_line_that_a_quotation_mark_has_swallowed(tmp_path):
    text = 'text,label\nx,pos\n"open\nb,pos\nc",neg\ne,neg\n'
    found = table(tmp_path, text)
    found.watch("label")
    kinds = [row if not isinstance(row, InputError) else str(row)[len(str(tmp_path)) :] for _, row in found]
    assert [kind["text"] for kind in kinds if isinstance(kind, dict)] == ["x", "b", 'c"', "e"]
    assert "/rows.csv, line 3: the quotation mark opened here takes the next lines into its field" in kinds[1]
