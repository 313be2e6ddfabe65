import json
import time
from itertools import chain

import pytest

from numformer.cli.data import _bar_when_slow

SMALL = ("--valid-size=10", "--test-size=5")


@pytest.fixture
def pairs(here):
    rows = [f"I have {i} apples.\tJ'ai {i}\u202fpommes.\tCC-BY\n".encode() for i in range(100)]
    rows += [rows[0], b"Tom\tTom\t\n", b"Go.\n", b"caf\xe9\tcoffee\t\n", b"x" * 400 + b"\ty\n"]
    (here / "pairs.tsv").write_bytes(b"".join(rows))
    return here / "pairs.tsv"


def test_the_folder_and_the_table_say_what_became_of_the_rows(pairs, here, numformer):
    result = numformer("data", "clean-pairs", "pairs.tsv", "out", *SMALL)
    assert (result.status, result.err) == (0, "")
    assert [line.rsplit(maxsplit=1) for line in result.out.splitlines()] == [
        ["rows", "105"],
        ["- not in the encoding", "1"],
        ["- too few columns", "1"],
        ["- source and target identical", "1"],
        ["- too long", "1"],
        ["- same as an earlier pair", "1"],
        ["kept", "100"],
        ["= train.tsv", "85"],
        ["= valid.tsv", "10"],
        ["= test.tsv", "5"],
    ]
    assert sorted(path.name for path in (here / "out").iterdir()) == [
        "report.json",
        "test.tsv",
        "train.tsv",
        "valid.tsv",
    ]
    lines = [(here / "out" / f"{part}.tsv").read_text().splitlines() for part in ("train", "valid", "test")]
    assert [len(part) for part in lines] == [85, 10, 5]
    assert sorted(chain(*lines)) == sorted(f"I have {i} apples.\tJ'ai {i} pommes." for i in range(100))


def test_the_report_holds_figures_and_settings(pairs, here, numformer):
    numformer("data", "clean-pairs", "pairs.tsv", "out", *SMALL, "--seed=3", "--max-ratio=2.5")
    report = json.loads((here / "out" / "report.json").read_text())
    assert (report["rows"], report["kept"]) == (105, 100)
    assert report["dropped"]["identical"] == 1
    assert report["parts"] == {"train": 85, "valid": 10, "test": 5}
    assert report["rows"] == report["kept"] + sum(report["dropped"].values())
    assert report["kept"] == sum(report["parts"].values())
    expected = {"input": "pairs.tsv", "valid_size": 10, "test_size": 5, "seed": 3, "max_ratio": 2.5, "source_column": 1}
    assert report["settings"] == report["settings"] | expected


def test_the_same_command_writes_the_same_bytes(pairs, here, numformer, snapshot):
    numformer("data", "clean-pairs", "pairs.tsv", "one", *SMALL)
    numformer("data", "clean-pairs", "pairs.tsv", "two", *SMALL)
    assert snapshot(here / "one") == snapshot(here / "two")
    numformer("data", "clean-pairs", "pairs.tsv", "three", *SMALL, "--seed=1")
    assert snapshot(here / "one") != snapshot(here / "three")


def test_columns_and_languages_are_options(here, numformer):
    (here / "links.tsv").write_text("1\teng\tRun!\t2\tfra\tCours !\n1\teng\tRun!\t3\tdeu\tLauf!\n")
    words = ["--source-column=6", "--target-column=3", "--source-language=fra", "--source-language-column=5"]
    assert numformer("data", "clean-pairs", "links.tsv", "out", "--valid-size=0", "--test-size=0", *words).status == 0
    assert (here / "out" / "train.tsv").read_text() == "Cours !\tRun!\n"


def test_empty_lines_are_no_rows_and_another_encoding_is_read(here, numformer):
    (here / "pairs.tsv").write_bytes("thé\ttea\n\n\nété\tsummer\n".encode("cp1252"))
    words = ["data", "clean-pairs", "pairs.tsv", "out", "--valid-size=0", "--test-size=0"]
    result = numformer(*words, "--encoding=cp1252")
    assert result.out.split()[:4] == ["rows", "2", "kept", "2"]
    assert (here / "out" / "train.tsv").read_text(encoding="utf-8") == "thé\ttea\nété\tsummer\n"


def test_overwrite_replaces_the_four_files_and_no_other(pairs, here, numformer, snapshot):
    numformer("data", "clean-pairs", "pairs.tsv", "out", *SMALL)
    (here / "out" / "notes.txt").write_text("mine")
    before = snapshot(here / "out")
    assert numformer("data", "clean-pairs", "pairs.tsv", "out", *SMALL, "--seed=1", "--overwrite").status == 0
    after = snapshot(here / "out")
    assert sorted(before) == sorted(after)
    assert [name.name for name in before if before[name] == after[name]] == ["notes.txt"]


def test_an_empty_folder_is_used(pairs, here, numformer):
    (here / "out").mkdir()
    assert numformer("data", "clean-pairs", "pairs.tsv", "out", *SMALL).status == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.tsv", "out"], "could not read nowhere.tsv: No such file or directory"),
        ([".", "out"], "could not read .: Is a directory"),
        (["empty.tsv", "out"], "empty.tsv is empty"),
        (
            ["pairs.tsv", "out", "--target-column=6"],
            r"""too few columns, target_column is 6; columns of the first row: 3 ("I have 0 apples.\tJ'ai 0""",
        ),
        (
            ["pairs.tsv", "out", "--max-chars=9"],
            "pairs.tsv: no pair is left, 102 of 105 rows dropped for this: too long",
        ),
        (
            ["pairs.tsv", "out", "--test-size=90"],
            "valid_size=1000 and test_size=90 leave nothing to train on of 100 clean",
        ),
        (["pairs.tsv", "out", "--min-chars=0"], "expected 1 <= min_chars <= max_chars"),
        (["pairs.tsv", "full"], "full is not empty: choose another folder, or replace train.tsv, valid.tsv"),
        (["pairs.tsv", "pairs.tsv"], "pairs.tsv is a file; the parts need a folder"),
        (["pairs.tsv", "pairs.tsv/out", *SMALL], "could not write pairs.tsv/out/train.tsv"),
        (["full/train.tsv", "full", "--overwrite"], "full/train.tsv would be replaced by a part of itself"),
        (["pairs.tsv", "out", "--seed=-1", *SMALL], "a seed must be at least 0, got -1"),
        (["pairs.tsv"], "missing from numformer data clean-pairs: OUT"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_wrong_input_is_refused(pairs, here, numformer, refused, words, message):
    (here / "empty.tsv").touch()
    (here / "full").mkdir()
    (here / "full" / "train.tsv").write_text("Go.\tVa !\n" * 3)
    refused(lambda: numformer("data", "clean-pairs", *words), message)


# The bar.


def test_a_bar_appears_in_a_terminal_when_the_work_is_slow(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal, for rich
    with _bar_when_slow(seconds=0) as bar:
        bar.add_task("cleaning", total=100)
        while not bar.live.is_started:
            time.sleep(0.001)
    assert "cleaning" in capsys.readouterr().err
    assert not bar.live.is_started


@pytest.mark.parametrize(("terminal", "seconds"), [("1", 60), ("", 0)])
def test_no_bar_appears_for_quick_work_or_outside_a_terminal(monkeypatch, capsys, terminal, seconds):
    monkeypatch.setenv("FORCE_COLOR", terminal)
    with _bar_when_slow(seconds) as bar:
        bar.add_task("cleaning", total=100)
        time.sleep(0.02)
    assert capsys.readouterr().err == ""
