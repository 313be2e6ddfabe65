"""Tables in and tables out: columns are chosen, rows keep their places, and nothing of them is lost."""

import csv
import gzip
import json
import random

import pytest


def table(path, *rows):
    """Write a CSV file of rows."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def objects(result):
    assert result.status == 0, result
    return [json.loads(line) for line in result.out.splitlines()]


@pytest.fixture
def predict(here, runs_of_tasks, numformer):
    """Run `predict` of a task's run in a folder of its own."""
    return lambda task, *words: numformer("predict", runs_of_tasks(task), *words)


SAME_ROWS = {
    "x.csv": 'id,text,day\n1,"Ann, 3",Mo\n2,Bob,Tu\n',
    "x.tsv": "id\ttext\tday\n1\tAnn, 3\tMo\n2\tBob\tTu\n",
    "x.jsonl": '{"id": "1", "text": "Ann, 3", "day": "Mo"}\n\n{"id": "2", "text": "Bob", "day": "Tu"}\n',
    "x.json": '[{"id": "1", "text": "Ann, 3", "day": "Mo"},\n {"id": "2", "text": "Bob", "day": "Tu"}]',
}


@pytest.mark.parametrize("name", SAME_ROWS)
def test_rows_are_predicted_from_their_text_and_keep_their_other_columns(here, predict, name):
    (here / name).write_text(SAME_ROWS[name])
    found = objects(predict("classify", "--input", name))
    assert [(each["id"], each["text"], each["day"]) for each in found] == [("1", "Ann, 3", "Mo"), ("2", "Bob", "Tu")]
    alone = objects(predict("classify", "Ann, 3", "Bob"))
    assert [each["label"] for each in found] == [each["label"] for each in alone]
    assert [each["score"] for each in found] == pytest.approx([each["score"] for each in alone])


def test_compressed_tables_are_read(here, predict):
    (here / "x.csv.gz").write_bytes(gzip.compress(SAME_ROWS["x.csv"].encode()))
    (here / "x.txt.gz").write_bytes(gzip.compress(b"Ann\n"))
    assert [each["id"] for each in objects(predict("classify", "--input=x.csv.gz"))] == ["1", "2"]
    assert [each["text"] for each in objects(predict("classify", "--input=x.txt.gz"))] == ["Ann"]


def test_spreadsheets_of_other_countries_are_read(here, predict):
    (here / "x.csv").write_bytes("id;text\n1;Zoé – naïve\n2;Ann\n".encode("cp1252"))
    result = predict("classify", "--input=x.csv", "--encoding=cp1252")
    assert result.err == "x.csv: 2 rows; columns between semicolons\n"
    assert [(each["id"], each["text"]) for each in objects(result)] == [("1", "Zoé – naïve"), ("2", "Ann")]


def test_rows_over_several_lines_are_counted_since_a_quotation_mark_may_have_swallowed_some(here, predict):
    (here / "x.csv").write_text('id,text\n1,"Ann\n2,Bob"\n3,Tom\n')
    result = predict("classify", "--input=x.csv")
    assert [each["text"] for each in objects(result)] == ["Ann\n2,Bob", "Tom"]
    assert result.err == "x.csv: 2 rows; 1 over several lines\n"


def test_a_table_without_rows_gives_one(here, predict):
    table(here / "x.csv", ("id", "text"))
    assert predict("classify", "--input=x.csv", "--out=o.csv").err == "o.csv: 0 rows\n"
    assert (here / "o.csv").read_text() == "id,text,label,score\n"


@pytest.mark.parametrize("out", ["o.csv", "o.tsv", "o.jsonl"])
def test_what_is_written_holds_the_input_and_the_prediction(here, predict, out):
    (here / "x.csv").write_text(SAME_ROWS["x.csv"])
    result = predict("classify", "--input=x.csv", "--out", out)
    assert (result.status, result.out, result.err) == (0, "", f"{out}: 2 rows\n")
    printed = objects(predict("classify", "--input=x.csv"))
    if out == "o.jsonl":
        assert [json.loads(line) for line in (here / out).read_text().splitlines()] == printed
    else:
        with (here / out).open(newline="") as file:
            header, *rows = csv.reader(file, delimiter="\t" if out == "o.tsv" else ",")
        assert header == ["id", "text", "day", "label", "score"]
        assert rows == [[str(each[name]) for name in header] for each in printed]


@pytest.mark.parametrize(
    ("task", "given", "columns"),
    [
        ("classify", {"text": "Ann."}, ["text", "label", "score"]),
        ("regress", {"text": "Ann."}, ["text", "value"]),
        ("seq2seq", {"source": "Ann."}, ["source", "target", "score"]),
        ("summarise", {"document": "Ann."}, ["document", "target", "score"]),
        ("tag", {"text": "Ann ."}, ["text", "words", "tags", "entities"]),
        ("mlm", {"text": "A[MASK]n."}, ["text", "masks"]),
        ("qa", {"question": "Who?", "context": "Ann."}, ["question", "context", "answer", "start", "end", "score"]),
    ],
)
def test_every_task_has_its_columns(here, predict, task, given, columns):
    (here / "x.jsonl").write_text(json.dumps(given) + "\n")
    (found,) = objects(predict(task, "--input=x.jsonl"))
    assert predict(task, "--input=x.jsonl", "--out=o.csv").status == 0
    (row,) = rows_of(here / "o.csv")
    assert list(row) == columns
    for name in columns:
        assert (row[name] if isinstance(found[name], str) else json.loads(row[name])) == found[name]


def test_other_targets_have_a_column_when_they_are_asked_for(here, predict):
    assert predict("seq2seq", "Ann", "--num-return=2", "--max-new-tokens=3", "--out=o.csv").status == 0
    (row,) = rows_of(here / "o.csv")
    assert list(row) == ["source", "target", "score", "alternatives"]
    assert [each.keys() for each in json.loads(row["alternatives"])] == [{"target", "score"}]


def test_lines_become_a_table_too(here, predict):
    assert predict("classify", "Ann", "Bob", "--out=o.csv").status == 0
    assert [next(iter(row.items())) for row in rows_of(here / "o.csv")] == [("text", "Ann"), ("text", "Bob")]


# Which columns.


def test_columns_are_those_of_the_training_when_not_named(examples, train_task, numformer):
    table(examples / "mails.csv", ("subject", "body", "label"), *(("Tom", f"sees {i}", "ab"[i % 2]) for i in range(12)))
    assert train_task("classify", "--text", "subject", "body", data="mails.csv").status == 0
    table(examples / "x.csv", ("body", "day", "subject"), ("likes it", "Mo", "Ann"))
    (found,) = objects(numformer("predict", "run", "--input=x.csv"))
    (alone,) = objects(numformer("predict", "run", "Ann likes it"))
    assert {"body": "likes it", "day": "Mo", "subject": "Ann"}.items() < found.items()
    assert found["scores"] == pytest.approx(alone["scores"])


def test_several_columns_are_joined_with_a_space_and_blank_ones_skipped(here, predict):
    table(here / "x.csv", ("a", "b"), ("Ann", "likes it"), ("", "Bob"))
    found = objects(predict("classify", "--input=x.csv", "--text", "a", "b"))
    alone = objects(predict("classify", "Ann likes it", "Bob"))
    assert [each["score"] for each in found] == pytest.approx([each["score"] for each in alone])


def test_the_only_column_is_the_text(here, predict):
    table(here / "x.csv", ("anything",), ("Ann",))
    result = predict("classify", "--input=x.csv")
    assert [each["anything"] for each in objects(result)] == ["Ann"]
    assert result.err == "x.csv: the text is the only column, 'anything'\n"


def test_a_source_is_in_the_column_that_the_run_learned_from(examples, train_task, numformer):
    assert train_task("seq2seq", "--backwards", data="pairs.jsonl").status == 0
    (examples / "x.jsonl").write_text('{"source": "left alone", "target": "ANN."}\n')
    words = ["--input=x.jsonl", "--num-beams=1", "--max-new-tokens=3"]
    (found,) = objects(numformer("predict", "run", *words))
    (alone,) = objects(numformer("predict", "run", "ANN.", *words[1:]))
    assert found["source"] == "left alone"
    assert found["target"] == "ANN."
    assert found["predicted_target"] == alone["target"]


def test_translate_reads_tables_and_prints_a_line_for_a_row(here, runs_of_tasks, numformer):
    table(here / "x.csv", ("id", "source"), ("1", "Ann"), ("2", ""), ("3", "Bob"))
    words = ["translate", runs_of_tasks("seq2seq"), "--num-beams=1", "--max-new-tokens=3"]
    lines = numformer(*words, "--input=x.csv").out.split("\n")
    assert lines == [*numformer(*words, "Ann").out.split("\n")[:1], "", *numformer(*words, "Bob").out.split("\n")]
    assert numformer(*words, "--input=x.csv", "--out=o.txt").status == 0
    assert (here / "o.txt").read_text().split("\n") == lines
    assert numformer(*words, "--input=x.csv", "--out=o.csv").status == 0
    assert [row["target"] for row in rows_of(here / "o.csv")] == lines[:-1]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("Ann.\tANN.\nBob.\tBOB.\n", [("Ann.", "ANN."), ("Bob.", "BOB.")]),
        ("Ann.\n\nBob.\n", [("Ann.", None), ("Bob.", None)]),
        ("source\ttarget\nAnn.\tANN.\nBob.\tBOB.\n", [("Ann.", "ANN."), ("Bob.", "BOB.")]),
        ("target\tx\tsource\nANN.\t1\tAnn.\nBOB.\t2\tBob.\n", [("Ann.", "ANN."), ("Bob.", "BOB.")]),
    ],
)
def test_pairs_have_a_header_or_none_and_no_line_is_lost(here, predict, content, found):
    (here / "x.tsv").write_text(content)
    rows = objects(predict("seq2seq", "--input=x.tsv", "--num-beams=1", "--max-new-tokens=3"))
    key = "predicted_target" if found[0][1] else "target"
    alone = objects(predict("seq2seq", "Ann.", "Bob.", "--num-beams=1", "--max-new-tokens=3"))
    assert [row["source"] for row in rows] == [source for source, _ in found]
    assert [row[key] for row in rows] == [each["target"] for each in alone]
    if found[0][1]:
        assert [row["target"] for row in rows] == [target for _, target in found]


def test_a_run_that_learned_backwards_reads_the_second_column_of_pairs(examples, train_task, numformer):
    assert train_task("seq2seq", "--backwards").status == 0
    (examples / "x.tsv").write_text("left alone\tANN.\n")
    words = ["--num-beams=1", "--max-new-tokens=3"]
    (found,) = objects(numformer("predict", "run", "--input=x.tsv", *words))
    (alone,) = objects(numformer("predict", "run", "ANN.", *words))
    assert (found["source"], found["target"]) == ("left alone", "ANN.")
    assert found["predicted_target"] == alone["target"]


def test_questions_of_a_table_may_share_a_context(here, predict):
    table(here / "x.csv", ("id", "question"), ("1", "Who?"), ("2", "What?"))
    found = objects(predict("qa", "--input=x.csv", "--context", "Ann sees Bob."))
    assert found == [
        {"id": str(number), **each}
        for number, each in enumerate(objects(predict("qa", "Who?", "What?", "--context", "Ann sees Bob.")), 1)
    ]


def test_the_positions_of_an_answer_hold_for_the_context_as_it_is(here, predict):
    context = "  Ann sees Bob. "
    (here / "x.jsonl").write_text(json.dumps({"question": "Who?", "context": context}))
    (found,) = objects(predict("qa", "--input=x.jsonl"))
    assert found["answer"]
    assert found["answer"] == context[found["start"] : found["end"]]


# What keeps its place.


def test_a_column_of_the_name_of_a_prediction_is_kept_beside_it(here, predict):
    table(here / "x.csv", ("text", "label", "predicted_label"), ("Ann", "gold", "older"))
    assert predict("classify", "--input=x.csv", "--out=o.csv").status == 0
    (row,) = rows_of(here / "o.csv")
    names = ["text", "label", "predicted_label", "predicted_predicted_label", "score"]
    assert list(row) == names
    assert (row["label"], row["predicted_label"]) == ("gold", "older")
    assert row["predicted_predicted_label"] in ("neg", "pos")


def test_one_row_is_said_as_one(here, predict):
    (here / "x.csv").write_text("text;id\nAnn;1\n")
    said = predict("classify", "--input=x.csv", "--out=o.csv").err
    assert said == "x.csv: 1 row; columns between semicolons\no.csv: 1 row\n"
    assert predict("classify", "--out=p.csv", " ").err == "1 of 1 input without a prediction: blank\np.csv: 1 row\n"


def test_blank_rows_stay_with_an_empty_prediction(here, predict):
    table(here / "x.csv", ("id", "text"), ("1", "Ann"), ("2", ""), ("3", "  "), ("4", "Bob"))
    result = predict("classify", "--input=x.csv", "--out=o.csv")
    assert result.err == "2 of 4 inputs without a prediction: blank\no.csv: 4 rows\n"
    rows = rows_of(here / "o.csv")
    assert [row["id"] for row in rows] == ["1", "2", "3", "4"]
    assert [bool(row["label"]) for row in rows] == [True, False, False, True]
    assert [bool(row["score"]) for row in rows] == [True, False, False, True]
    assert objects(predict("classify", "--input=x.csv"))[1] == {"id": "2", "text": "", "label": None, "score": None}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", "id,text\n1,Ann\n2,Bob,more\n3,Tom\n", "x.csv, line 3: got 3 columns, expected 2 as in the header"),
        ("x.jsonl", '{"id": 1, "text": "Ann"}\n{"id"\n{"id": 3, "text": "Tom"}\n', "x.jsonl, line 2: not valid JSON"),
        ("x.jsonl", '{"id": 1, "text": "Ann"}\n{"id": 2}\n{"id": 3, "text": "Tom"}\n', "line 2: there is no 'text'"),
        ("x.jsonl", '{"text": "Ann"}\n{"text": 3}\n{"text": "Tom"}\n', "line 2: the text must be text, got an integer"),
    ],
)
def test_a_malformed_row_is_named_or_left_out_and_counted(here, predict, refused, name, content, message):
    (here / name).write_text(content)
    refused(lambda: predict("classify", "--input", name, "--out=o.csv"), message)
    refused(lambda: predict("classify", "--input", name, "--out=o.csv"), "(--skip-bad leaves such rows out)")
    result = predict("classify", "--input", name, "--skip-bad", "--out=o.csv")
    assert result.err == f"{name}: 3 rows; 1 left out (malformed)\no.csv: 2 rows\n"
    assert [row["text"] for row in rows_of(here / "o.csv")] == ["Ann", "Tom"]


def test_keys_that_only_later_rows_have_are_columns_too(here, predict):
    (here / "x.jsonl").write_text('{"text": "Ann"}\n{"text": "Bob", "note": [1], "label": "gold"}\n')
    assert predict("classify", "--input=x.jsonl", "--out=o.csv").status == 0
    first, second = rows_of(here / "o.csv")
    assert list(first) == ["text", "note", "label", "predicted_label", "score"]
    assert (first["note"], second["note"], second["label"]) == ("", "[1]", "gold")


def test_columns_without_a_name_or_with_the_same_are_all_kept(here, predict):
    (here / "x.csv").write_text("text,a,a,\nAnn,1,2,3\n")
    row = objects(predict("classify", "--input=x.csv"))[0]
    assert {name: row[name] for name in list(row)[:4]} == {
        "text": "Ann",
        "a": "1",
        "a (column 3)": "2",
        "column 4": "3",
    }


CELLS = ["", "  ", "Ann", "a,b", "x;y", 'he "said" so', '"quoted"', "two\nlines", "tab\there", "Zoë", "=1", "'"]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("out", ["o.csv", "o.jsonl"])
def test_every_row_of_a_table_comes_out_in_its_place(here, predict, monkeypatch, seed, out):
    draw = random.Random(seed)
    monkeypatch.setattr(
        "numformer.tasks.Classifier.predict",
        lambda self, texts: [{"text": text, "label": "pos", "score": 0.5, "scores": {}} for text in texts],
    )
    rows = [[str(number), *draw.choices(CELLS, k=3)] for number in range(draw.randrange(1, 40))]
    table(here / "x.csv", ("id", "text", "b", "label"), *rows)
    result = predict("classify", "--input=x.csv", "--text", "text", "b", "--out", out)
    blank = sum(not (text + b).strip() for _, text, b, _ in rows)
    note = f"{blank} of {len(rows)} inputs without a prediction: blank\n" if blank else ""
    assert result.err.endswith(f"{note}{out}: {len(rows):,} rows\n")
    written = rows_of(here / out) if out == "o.csv" else objects_in(here / out)
    assert [[row[name] for name in ("id", "text", "b", "label")] for row in written] == [
        [cell.strip() for cell in row] for row in rows
    ]
    assert [bool(row["predicted_label"]) for row in written] == [bool((text + b).strip()) for _, text, b, _ in rows]


def objects_in(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


# Refusals.


def test_a_file_is_replaced_only_when_that_is_said(here, predict, refused):
    (here / "o.csv").write_text("mine")
    refused(lambda: predict("classify", "Ann", "--out=o.csv"), "o.csv exists: choose another file, or replace it with")
    assert predict("classify", "Ann", "--out=o.csv", "--overwrite").status == 0
    assert rows_of(here / "o.csv")[0]["text"] == "Ann"


def test_a_table_may_be_replaced_by_itself_with_predictions(here, predict):
    table(here / "x.csv", ("text",), ("Ann",), ("Bob",))
    assert predict("classify", "--input=x.csv", "--out=x.csv", "--overwrite").status == 0
    assert [row["text"] for row in rows_of(here / "x.csv")] == ["Ann", "Bob"]


@pytest.mark.parametrize(
    ("task", "words", "message"),
    [
        ("classify", ["Ann", "--out=o.txt"], "predictions are written to a .csv, .tsv or .jsonl file, got o.txt"),
        ("classify", ["Ann", "--text=a"], "--text names columns of a table (.csv, .tsv, .jsonl, .json), got no table"),
        ("classify", ["--input=x.csv"], "there is no column 'text' for the text (the columns are 'a', 'b'); choose"),
        ("classify", ["--input=x.csv", "--text=c"], "there is no column 'c' for the text (the columns are 'a', 'b')"),
        ("classify", ["--input=no.csv"], "could not read no.csv: No such file or directory"),
        ("classify", ["Ann", "--input=x.csv"], "give texts as arguments or with --input, not both"),
        (
            "qa",
            ["--input=x.csv", "--text=a"],
            "there is no column 'context' (the columns are 'a', 'b'); give --context",
        ),
        ("qa", ["Who?"], "questions need the text to find the answers in: --context TEXT, or --input TABLE with the"),
        (
            "seq2seq",
            ["--input=pairs.tsv"],
            "pairs.tsv, line 2: got 1 column, expected 2 as in the first line (--skip-bad",
        ),
        ("seq2seq", ["--input=x.csv"], "x.csv, line 1: there is no column 'source' for the text (the columns are 'a'"),
        ("classify", ["--words", "Ann"], "--words is not for "),
        ("regress", ["--word-column=2", "Ann"], "--word-column is not for "),
        ("tag", ["--input=list.jsonl"], "list.jsonl, line 2: expected a list of words, got a list"),
        ("tag", ["--input=words.jsonl"], "words.jsonl, line 1: expected a list of words, got an integer"),
    ],
)
def test_what_does_not_fit_is_refused(here, predict, refused, task, words, message):
    table(here / "x.csv", ("a", "b"), ("1", "2"))
    (here / "pairs.tsv").write_text("Ann\tANN\nBob\n")
    (here / "list.jsonl").write_text('["a"]\n[1]\n')
    (here / "words.jsonl").write_text('{"words": 3}\n')
    refused(lambda: predict(task, *words), message)


# Words.

WORDS = ["Zoë", "doesn't", "like", "U.S.A."]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.txt", " ".join(WORDS) + "\n", ["--words"]),
        ("x.txt", json.dumps(WORDS) + "\n", ["--words"]),
        ("x.jsonl", json.dumps(WORDS) + "\n", []),
        ("x.jsonl", json.dumps({"words": WORDS}) + "\n", []),
        ("x.json", json.dumps([{"words": WORDS}]), []),
        ("x.csv", 'words\n"' + json.dumps(WORDS).replace('"', '""') + '"\n', []),
        ("x.csv", "text\n" + " ".join(WORDS) + "\n", ["--words"]),
        ("x.conll", "\n".join(WORDS) + "\n", []),
        ("x.iob2", "".join(f"{number}\t{word}\n" for number, word in enumerate(WORDS, 1)), []),
        ("x.txt", "".join(f"x\t{word}\n" for word in WORDS), ["--word-column=2"]),
    ],
)
def test_words_are_taken_as_they_are(here, predict, name, content, words):
    (here / name).write_text(content)
    (found,) = objects(predict("tag", "--input", name, *words))
    assert found["words"] == WORDS
    assert len(found["tags"]) == len(WORDS)
    assert "predicted_words" not in found


def test_words_are_taken_as_they_are_from_arguments_and_standard_input(predict, stdin):
    stdin((" ".join(WORDS) + "\n").encode())
    found = objects(predict("tag", "--words"))
    assert found == objects(predict("tag", "--words", " ".join(WORDS)))
    assert found[0]["words"] == WORDS


def test_a_sentence_without_words_keeps_its_place(here, predict):
    (here / "x.jsonl").write_text('["Ann"]\n[]\n["Bob"]\n')
    assert [each["words"] for each in objects(predict("tag", "--input=x.jsonl"))] == [["Ann"], [], ["Bob"]]
