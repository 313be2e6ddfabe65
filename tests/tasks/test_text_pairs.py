"""Pairs of texts in classification and regression: how they are read, put into tokens, learned and asked."""

import io
import json
import random
from pathlib import Path

import numpy as np
import pytest

import numformer as nf
from numformer import ByteTokenizer, Classifier, InputError, Regressor
from numformer.cli.main import main
from numformer.pretrained import read_safetensors, write_safetensors
from numformer.tasks.shared.text_pairs import collate_texts, encode_texts, shares

SHAPE = {"d_model": 16, "num_heads": 2, "num_layers": 1, "max_seq_len": 24}
WORDS = ("red", "blue", "cat", "dog", "tea", "rice")
SAME = [((a, b), "same" if a == b else "other") for a in WORDS for b in (a, *WORDS)]
NEAR = [((a, b), float(a == b)) for a in WORDS for b in WORDS]
HEADERS = [
    ("text", "text_pair"),
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
]


@pytest.fixture(scope="module")
def golden():
    arrays, metadata = read_safetensors(Path(__file__).parents[1] / "golden" / "pairs.safetensors")
    return arrays, json.loads(metadata["config"])


@pytest.fixture
def published(golden, tmp_path):
    """Return what writes the folder of a model of Transformers, and opens it."""
    arrays, config = golden

    def opened(name):
        for file, text in config[name].items():
            (tmp_path / file).write_text(text, encoding="utf-8")
        start = f"{name}.weight."
        weights = {key.removeprefix(start): value for key, value in arrays.items() if key.startswith(start)}
        write_safetensors(tmp_path / "model.safetensors", weights, {})
        return nf.load(tmp_path)

    return opened


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on pairs in columns that are called as in known data sets."""
    folder = tmp_path_factory.mktemp("pairs")
    write(folder / "same.csv", ("sentence1", "sentence2", "label"))
    task = Classifier.from_data(folder / "same.csv", valid_fraction=0.25, **SHAPE)
    task.fit(steps=4, batch_size=8, progress=False, out=folder / "run")
    return folder / "run"


def write(file, names, rows=SAME):
    lines = [",".join(names), *(f"{first},{second},{other}" for (first, second), other in rows)]
    file.write_text("\n".join(lines) + "\n")


def classifier(examples=SAME, **settings):
    return Classifier.from_data(examples, **{"valid_fraction": 0.0} | SHAPE | settings)


# What Transformers makes of them


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_pairs_become_the_ids_and_segments_of_transformers_and_are_cut_as_there(name, golden, published):
    arrays, config = golden
    task = published(name)
    rows = encode_texts(task.tokenizer, [tuple(pair) for pair in config["pairs"]], task.model)
    for number, row in enumerate(rows):
        np.testing.assert_array_equal(row.tokens, arrays[f"{name}.{number}.ids"])
        if name == "bert":  # the other has one segment
            np.testing.assert_array_equal(row.segments, arrays[f"{name}.{number}.segments"])


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_scores_of_pairs_are_those_of_transformers(name, golden, published):
    arrays, config = golden
    found = published(name).predict([tuple(pair) for pair in config["pairs"]])
    for number, each in enumerate(found):
        logits = arrays[f"{name}.{number}.logits"]
        expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        np.testing.assert_allclose(list(each["scores"].values()), expected, rtol=1e-4, atol=1e-6)


def test_a_folder_of_others_takes_single_texts_and_pairs(published, tmp_path, capsys):
    task = published("bert")
    assert [list(each)[:2] for each in task.predict([("a", "dog"), "a"])] == [["text", "text_pair"], ["text", "label"]]
    write(tmp_path / "new.csv", ("a", "b", "label"), [(("the cat", "a dog"), "LABEL_1")])
    words = ["--text", "a", "--pair", "b"]
    assert main(["predict", str(tmp_path), "--input", str(tmp_path / "new.csv"), *words]) == 0
    assert json.loads(capsys.readouterr().out)["predicted_label"] == task.predict([("the cat", "a dog")])[0]["label"]
    assert main(["evaluate", str(tmp_path), "--data", str(tmp_path / "new.csv"), *words]) == 0


# Tokens


@pytest.mark.parametrize(
    ("sizes", "room", "expected"),
    [
        ((3, 4), 7, (3, 4)),
        ((3, 9), 8, (3, 5)),
        ((9, 3), 8, (5, 3)),
        ((9, 9), 8, (4, 4)),
        ((9, 9), 7, (3, 4)),
        ((9, 10), 7, (3, 4)),
        ((10, 9), 7, (4, 3)),
        ((0, 9), 4, (0, 4)),
    ],
)
def test_the_longer_text_is_cut_first(sizes, room, expected):
    assert shares(*sizes, room) == expected


def test_lengths_are_those_of_the_tokenizers_library():
    tokenizers = pytest.importorskip("tokenizers")
    library = tokenizers.Tokenizer(tokenizers.models.WordLevel({"x": 0, "?": 1}, unk_token="?"))
    library.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    rng = random.Random(0)
    for _ in range(300):
        first, second, room = rng.randint(0, 9), rng.randint(0, 9), rng.randint(2, 12)
        library.enable_truncation(room, strategy="longest_first")
        sides = library.encode(" ".join("x" * first), " ".join("x" * second)).sequence_ids
        assert shares(first, second, room) == (sides.count(0), sides.count(1))


def test_pairs_that_are_cut_are_counted(capsys):
    task = classifier()
    task.predict([("red " * 40, "dog"), ("a", "b"), ("a", "red " * 40)])
    assert "2 of 3 pairs cut to max_seq_len=24 tokens" in capsys.readouterr().err


def test_a_context_without_room_for_two_texts_is_refused():
    with pytest.raises(InputError, match="max_seq_len=4 leaves no room for two texts"):
        classifier(max_seq_len=4).fit(steps=1, progress=False)


def test_the_second_text_and_what_follows_are_of_segment_1():
    task = classifier(tokenizer=ByteTokenizer())
    rows = encode_texts(task.tokenizer, [("ab", "c"), ("a", "")], task.model)
    tokens, mask, segments = collate_texts(task.tokenizer, rows)
    begin, end = task.tokenizer.bos_id, task.tokenizer.eos_id
    assert tokens[0].tolist() == [begin, 97, 98, end, 99, end]
    assert segments.tolist() == [[0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 0, 0]]
    assert mask.sum(axis=1).tolist() == [6, 4]


def test_texts_that_nothing_tells_apart_are_refused():
    class Letters:
        vocab_size, pad_id = 128, 0

        def encode(self, text):
            return [ord(letter) for letter in text]

        def decode(self, ids):
            return "".join(map(chr, ids))

    assert classifier(tokenizer=Letters()).predict([("a", "b")])
    with pytest.raises(
        InputError, match="need a tokenizer with an eos_id to stand between them, or a model with segments"
    ):
        classifier(tokenizer=Letters(), num_segments=1).predict([("a", "b")])


def test_the_segments_reach_the_model():
    task = classifier(tokenizer=ByteTokenizer())
    before = task.predict([("a", "b")])[0]["scores"]
    task.model.backbone.embeddings.segment_embedding.weight.data[1] += 3.0
    assert task.predict([("a", "b")])[0]["scores"] != before


# Reading


@pytest.mark.parametrize("names", HEADERS)
def test_usual_columns_of_pairs_are_found_and_said(names, tmp_path, capsys):
    write(tmp_path / "data.csv", (*names, "label"))
    task = Classifier.from_data(tmp_path / "data.csv", **SHAPE)
    assert (task.config.text, task.config.pair) == ((names[0],), names[1])
    assert {type(texts) for texts, _ in task.train_data} == {tuple}
    err = capsys.readouterr().err
    assert f"pairs of texts, in the columns {names[0]} and {names[1]}" in err
    assert "pairs of texts; 2 labels" in err


@pytest.mark.parametrize("suffix", [".tsv", ".jsonl"])
def test_pairs_come_in_other_tables_too(suffix, tmp_path):
    file = tmp_path / f"data{suffix}"
    if suffix == ".tsv":
        write(file, ("premise", "hypothesis", "label"))
        file.write_text(file.read_text().replace(",", "\t"))
    else:
        rows = [{"premise": a, "hypothesis": b, "label": label} for (a, b), label in SAME]
        file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    task = Classifier.from_data(file, valid_fraction=0.0, **SHAPE)
    assert list(task.train_data) == SAME


def test_columns_of_pairs_are_chosen_by_name(tmp_path):
    write(tmp_path / "data.csv", ("left", "right", "kind"))
    chosen = {"text": "left", "pair": "right", "label": "kind"}
    task = Classifier.from_data(tmp_path / "data.csv", valid_fraction=0.0, **chosen, **SHAPE)
    assert list(task.train_data) == SAME
    task = Classifier.from_data(tmp_path / "data.csv", valid_fraction=0.0, text="left", pair="right", **SHAPE)
    assert list(task.train_data) == SAME  # of three columns the third is the label


def test_a_text_that_is_named_stands_alone(tmp_path):
    write(tmp_path / "data.csv", ("sentence1", "sentence2", "label"))
    task = Classifier.from_data(tmp_path / "data.csv", text="sentence1", **SHAPE)
    assert task.config.pair is None
    assert task.predict(["red"])[0]["text"] == "red"


def test_a_column_text_is_a_single_text_whatever_stands_beside_it(tmp_path):
    (tmp_path / "data.csv").write_text("text,sentence1,sentence2,label\n" + "a,b,c,x\nd,e,f,y\n" * 8)
    task = Classifier.from_data(tmp_path / "data.csv", **SHAPE)
    assert task.config.pair is None
    assert {texts for texts, _ in task.train_data} <= {"a", "d"}


def test_a_row_without_one_of_its_texts_is_left_out_and_counted(tmp_path, capsys):
    write(
        tmp_path / "data.csv", ("sentence1", "sentence2", "label"), [*SAME, (("red", ""), "other"), (("", "a"), "same")]
    )
    task = Classifier.from_data(tmp_path / "data.csv", valid_fraction=0.0, **SHAPE)
    assert len(task.train_data) == len(SAME)
    assert "2 left out (1 blank sentence2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pair": "nope"}, r"line 1: there is no column 'nope' for the pair .*choose another with --pair"),
        ({"text": "a", "pair": "a"}, "the two texts of a pair cannot both be the column 'a'"),
        ({"text": "a", "pair": "label", "label": "label"}, "the text and the label cannot both be the column 'label'"),
    ],
)
def test_columns_that_cannot_be_pairs_are_refused(settings, message, tmp_path):
    write(tmp_path / "data.csv", ("a", "b", "label"))
    with pytest.raises(InputError, match=message):
        Classifier.from_data(tmp_path / "data.csv", **settings, **SHAPE)


def test_a_folder_of_labels_has_no_pairs(tmp_path):
    with pytest.raises(InputError, match=r"pairs of texts come in a \.csv"):
        Classifier.from_data(tmp_path, pair="b", **SHAPE)


def test_equal_pairs_lie_on_one_side():
    examples = [((f"A {n % 10}", "b"), "xy"[n % 2]) for n in range(40)] + [((f"a {n}", "B"), "x") for n in range(10)]
    task = classifier(examples, valid_fraction=0.3)
    sides = [{(a.lower(), b.lower()) for (a, b), _ in part} for part in (task.train_data, task.valid_data)]
    assert sides[1]
    assert not sides[0] & sides[1]


def test_lists_of_pairs_and_of_single_texts_are_not_mixed():
    with pytest.raises(InputError, match="some of the examples are pairs of texts and some are single texts"):
        classifier([*SAME, ("red", "same")])
    with pytest.raises(InputError, match="some of the examples are pairs"):
        classifier(SAME, valid=[("red", "same")])
    with pytest.raises(
        InputError, match=r"example 0 is \(\('a', 'b', 'c'\), 'x'\), expected a pair of a text and its label"
    ):
        classifier([(("a", "b", "c"), "x")])


# Learning and asking


def test_it_is_learned_whether_two_texts_are_the_same():
    examples = [((a, b), "same" if a == b else "other") for a in WORDS for b in (*[a] * 5, *WORDS)]
    task = classifier(examples, d_model=32, dropout=0.0)
    task.fit(steps=200, batch_size=32, lr=5e-3, progress=False)
    assert task.evaluate(examples)["accuracy"] > 0.95
    assert task.predict([("cat", "cat"), ["cat", "dog"]])[1]["text_pair"] == "dog"


def test_a_regressor_reads_pairs_too(tmp_path):
    task = Regressor.from_data(NEAR, valid_fraction=0.0, **SHAPE)
    task.fit(steps=2, progress=False, out=tmp_path / "run")
    found = nf.load(tmp_path / "run").predict([("red", "red")])
    assert found == task.predict([("red", "red")])
    assert list(found[0]) == ["text", "text_pair", "value"]
    assert task.evaluate(NEAR, errors=tmp_path / "all.csv")["count"] == len(NEAR)
    assert (tmp_path / "all.csv").read_text().startswith("place,text,text_pair,gold,predicted,difference\n")


def test_a_regressor_finds_usual_columns(tmp_path):
    write(tmp_path / "near.csv", ("sentence1", "sentence2", "value"), NEAR)
    assert list(Regressor.from_data(tmp_path / "near.csv", valid_fraction=0.0, **SHAPE).train_data) == NEAR


def test_a_causal_model_reads_pairs_without_segments(tmp_path):
    text = "the cat sat.\n" * 20
    nf.LanguageModel.from_text(text, tokenizer=ByteTokenizer(), **SHAPE).save(tmp_path / "base")
    task = Classifier.from_data(SAME, pretrained=tmp_path / "base", valid_fraction=0.0)
    task.fit(steps=2, progress=False)
    assert task.predict([("red", "red")])[0]["label"] in ("same", "other")


def test_a_run_and_a_saved_folder_know_that_they_read_pairs(run, tmp_path):
    task = nf.load(run)
    task.save(tmp_path / "saved")
    for each in (task, nf.load(tmp_path / "saved"), nf.load(run / "best")):
        assert each.reads_pairs
        with pytest.raises(InputError, match="trained on pairs of texts, got a single text as number 1: 'red'"):
            each.predict([("red", "red"), "red"])
        with pytest.raises(InputError, match="expected a list of texts or pairs of texts, got 3 as number 0"):
            each.predict([3])


def test_a_model_of_single_texts_refuses_pairs(tmp_path):
    task = classifier([("red", "x"), ("blue", "y")] * 4)
    task.fit(steps=1, progress=False, out=tmp_path / "run")
    for each in (task, nf.load(tmp_path / "run")):
        with pytest.raises(InputError, match=r"trained on single texts, got a pair of texts as number 0: \('a', 'b'\)"):
            each.predict([("a", "b")])
        with pytest.raises(InputError, match="trained on single texts"):
            each.evaluate([(("a", "b"), "x")])


def test_a_run_on_pairs_is_resumed_and_measured_on_what_it_held_out(run, tmp_path, capsys):
    data = run.parent / "same.csv"
    words = ["train", "classify", "--data", str(data), "--out", str(tmp_path / "run"), "--model.d-model", "16"]
    assert main([*words, "--train.steps", "2"]) == 0
    assert main(["train", "classify", "--out", str(tmp_path / "run"), "--resume", "--train.steps", "3"]) == 0
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    assert json.loads(capsys.readouterr().out)["count"] > 0
    wrong = tmp_path / "wrong.csv"
    assert main(["evaluate", str(run), "--data", str(data), "--errors", str(wrong)]) == 0
    assert wrong.read_text().startswith("place,text,text_pair,gold,predicted,score\n")


# The commands


def test_info_says_that_a_run_reads_pairs(run, capsys):
    assert main(["info", str(run)]) == 0
    assert "input        pairs of texts" in capsys.readouterr().out


def test_arguments_are_taken_in_twos(run, capsys):
    assert main(["predict", str(run), "red", "red", "cat", "dog"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(each["text"], each["text_pair"]) for each in found] == [("red", "red"), ("cat", "dog")]
    assert [each["label"] for each in found] == [
        each["label"] for each in nf.load(run).predict([("red", "red"), ("cat", "dog")])
    ]
    assert main(["predict", str(run), "red"]) == 2
    assert "give an even number of them, got 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("lines", "code", "message"),
    [
        ("red\tred\n\nred\tblue\n", 0, "1 of 3 inputs without a prediction: blank"),
        ("red\t \n", 0, "1 of 1 input without a prediction: blank"),
        ("red\tred\nred\n", 2, "line 2: the model reads pairs of texts, with one TAB between the two; got no TAB"),
        ("a\tb\tc\n", 2, "got 2 TABs"),
    ],
)
def test_lines_have_a_tab_between_the_texts(lines, code, message, run, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    assert main(["predict", str(run)]) == code
    assert message in capsys.readouterr().err


def test_tables_are_read_by_the_columns_of_the_training_or_those_that_are_named(run, tmp_path, capsys):
    write(tmp_path / "new.csv", ("sentence1", "sentence2", "id"), [(("red", "red"), 1), (("red", ""), 2)])
    write(tmp_path / "other.csv", ("a", "b", "id"), [(("red", "red"), 1), (("red", ""), 2)])
    out = tmp_path / "out.csv"
    assert main(["predict", str(run), "--input", str(tmp_path / "new.csv"), "--out", str(out)]) == 0
    header, first, blank = out.read_text().splitlines()
    assert header == "sentence1,sentence2,id,label,score"
    assert blank == "red,,2,,"
    words = ["--text", "a", "--pair", "b", "--overwrite"]
    assert main(["predict", str(run), "--input", str(tmp_path / "other.csv"), "--out", str(out), *words]) == 0
    assert out.read_text().splitlines()[1] == first
    assert main(["predict", str(run), "--input", str(tmp_path / "other.csv")]) == 2
    assert "there is no column 'sentence1' for the text" in capsys.readouterr().err


def test_naming_a_second_column_needs_a_table_and_a_model_of_pairs(run, tmp_path, capsys):
    assert main(["predict", str(run), "--pair", "b", "red", "red"]) == 2
    assert "--pair names columns of a table" in capsys.readouterr().err
    classifier([("red", "x"), ("blue", "y")] * 4).fit(steps=1, progress=False, out=tmp_path / "single")
    write(tmp_path / "new.csv", ("text", "text_pair", "label"))
    for words in (["predict", "--input"], ["evaluate", "--data"]):
        command = [words[0], str(tmp_path / "single"), words[1], str(tmp_path / "new.csv"), "--pair", "text_pair"]
        assert main(command) == 2
    err = capsys.readouterr().err
    assert f"--pair is not for {tmp_path / 'single'}, which reads single texts" in err
    assert "this model was trained on single texts, got a pair of texts" in err


def test_the_attention_of_a_pair_names_the_tokens_of_both(run, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    assert nf.load(run).attention("red cat", "blue")[0].keys == ["<bos>", "red", "cat", "<eos>", "blue", "<eos>"]
    command = ["attention", str(run), "red cat", "--out", str(tmp_path / "map.png")]
    assert main([*command, "--text-pair", "blue"]) == 0
    assert main(command) == 2
    assert "trained on pairs of texts, got a single text" in capsys.readouterr().err
