"""`numformer embed` and `numformer similar`: a vector for every text, and the texts nearest to a query."""

import json

import numpy as np
import pytest

from numformer import BertConfig, Embedder, build_model
from numformer.tokenizers import CharacterTokenizer

TEXTS = ["the cat sat", "a dog ran", "the cats", "a dog"]
SIZES = {"d_model": 16, "num_heads": 2, "d_ff": 32, "num_layers": 1, "max_seq_len": 16}


@pytest.fixture
def embedder(here):
    """An embedder, which is in the folder `model` of the test."""
    tokenizer = CharacterTokenizer("abcdefghijklmnopqrstuvwxyz ", special_tokens=True)
    model = build_model(BertConfig(**SIZES, vocab_size=tokenizer.vocab_size), "embed", normalize=True, seed=1)
    made = Embedder(model.eval(), tokenizer)
    made.save(here / "model")
    return made


def write_forms(here):
    """Write the texts in every form of file."""
    (here / "x.txt").write_text("".join(f"{text}\n" for text in TEXTS))
    (here / "x.csv").write_text("id,text\n" + "".join(f"{i},{text}\n" for i, text in enumerate(TEXTS)))
    (here / "x.tsv").write_text("text\tid\n" + "".join(f"{text}\t{i}\n" for i, text in enumerate(TEXTS)))
    (here / "x.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))


# embed


@pytest.mark.parametrize("name", ["x.txt", "x.csv", "x.tsv", "x.jsonl"])
def test_every_form_of_file_gives_a_row_for_each_text(here, embedder, numformer, name):
    write_forms(here)
    result = numformer("embed", "model", "--input", name, "--out", "v.npy", "--batch-size", "3")
    assert (result.status, result.out) == (0, "")
    assert result.err.splitlines()[-1] == "v.npy: 4 vectors of 16 numbers"
    np.testing.assert_allclose(np.load(here / "v.npy"), embedder.encode(TEXTS), rtol=1e-5, atol=1e-6)


def test_texts_come_as_arguments_and_on_standard_input_too(here, embedder, numformer, stdin):
    numformer("embed", "model", *TEXTS, "--out", "a.npy")
    stdin("\n".join(TEXTS).encode())
    numformer("embed", "model", "--out", "b.npy")
    np.testing.assert_array_equal(np.load("a.npy"), np.load("b.npy"))
    assert len(np.load("a.npy")) == 4


def test_a_blank_text_keeps_its_row_and_is_counted(here, embedder, numformer):
    (here / "x.txt").write_text("a dog\n\n \nthe cats\n")
    result = numformer("embed", "model", "--input", "x.txt", "--out", "v.npy")
    assert "2 of 4 texts blank, with the vector of the empty text\n" in result.err
    expected = embedder.encode(["a dog", "", "", "the cats"])
    np.testing.assert_allclose(np.load(here / "v.npy"), expected, rtol=1e-5, atol=1e-6)


def test_another_column_is_named(here, embedder, numformer):
    (here / "x.csv").write_text("title,body\na,dog\nthe,cats\n")
    numformer("embed", "model", "--input", "x.csv", "--text", "title", "body", "--out", "v.npy")
    np.testing.assert_allclose(np.load("v.npy"), embedder.encode(["a dog", "the cats"]), rtol=1e-5, atol=1e-6)


def test_a_run_gives_vectors_and_reads_the_column_of_its_training(here, train_task, numformer):
    rows = "".join(f"the {word},{label}\n" for word, label in [("cat", "x"), ("dog", "y")] * 8)
    (here / "own.csv").write_text("body,kind\n" + rows)
    assert train_task("classify", "--text=body", "--label=kind", data="own.csv").status == 0
    result = numformer("embed", "run", "--input", "own.csv", "--out", "v.npy")
    assert "a SequenceClassifier says nothing of vectors of texts" in result.err
    assert np.load("v.npy").shape == (16, 16)


def test_a_file_is_replaced_with_overwrite_alone(here, embedder, numformer, refused):
    numformer("embed", "model", "a dog", "--out", "v.npy")
    words = ("embed", "model", "a dog", "the cats", "--out", "v.npy")
    refused(lambda: numformer(*words), "v.npy exists: choose another file, or replace it with --overwrite")
    assert numformer(*words, "--overwrite").status == 0
    assert len(np.load("v.npy")) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model", "a", "--out", "v.csv"], "vectors are in a .npy file, got v.csv"),
        (["model", "a"], "--out"),
        (
            ["model", "a", "--out", "v.npy", "--batch-size", "0"],
            "batch_size must be a whole number of at least 1, got 0",
        ),
        (["model", "--input", "no.txt", "--out", "v.npy"], "could not read no.txt"),
        (["model", "a", "--input", "x.txt", "--out", "v.npy"], "give texts as arguments or with --input, not both"),
        (["model", "--input", "x.csv", "--text", "body", "--out", "v.npy"], "no column 'body'"),
        (["none", "a", "--out", "v.npy"], "there is no folder none, and no model of that name"),
    ],
)
def test_what_cannot_be_embedded_is_refused(here, embedder, numformer, refused, words, message):
    write_forms(here)
    refused(lambda: numformer("embed", *words), message)


def test_a_language_model_makes_no_vectors(numformer, refused, finished_run):
    refused(
        lambda: numformer("embed", finished_run, "a", "--out", "v.npy"),
        "holds a GPT, but Embedder needs an encoder that looks both ways",
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predict", "model", "a"], "model makes vectors of texts: use numformer embed"),
        (["translate", "model", "a"], "model makes vectors of texts: use numformer embed"),
        (["evaluate", "model"], "model makes vectors of texts, which have no scores of their own: use numformer embed"),
        (["generate", "model", "--prompt", "a"], "the task of model is embed: use numformer embed"),
        (["chat", "model", "--prompt", "a"], "the task of model is embed"),
    ],
)
def test_other_commands_say_what_such_a_model_is_for(embedder, numformer, refused, words, message):
    refused(lambda: numformer(*words), message)


def test_info_and_attention_show_such_a_model(here, embedder, numformer):
    told = numformer("info", "model").out
    assert "vectors      the mean of the positions, of length 1; texts of up to 16 tokens" in told
    assert numformer("attention", "model", "a dog", "--out", "a.png").status == 0


def test_a_model_without_a_head_is_converted_as_it_is(here, embedder, numformer):
    assert numformer("convert", "model", "again").status == 0
    names = {path.name for path in (here / "again").iterdir()}
    assert {"modules.json", "1_Pooling"} <= names
    assert "task.toml" not in names


# similar


def found_by(result):
    assert result.status == 0, result
    return [json.loads(line) for line in result.out.splitlines()]


@pytest.mark.parametrize("name", ["x.txt", "x.csv", "x.jsonl"])
def test_the_nearest_texts_are_printed_best_first_with_their_columns(here, embedder, numformer, name):
    write_forms(here)
    found = found_by(numformer("similar", "model", "--corpus", name, "the cats", "--top", "2"))
    assert [each["text"] for each in found] == [each["text"] for each in embedder.similar("the cats", TEXTS, top=2)]
    assert (found[0]["text"], found[0]["index"]) == ("the cats", 2)
    assert found[0]["score"] == pytest.approx(1.0, abs=1e-5)
    assert found[0].get("id") == ("2" if name == "x.csv" else None)


def test_a_person_sees_each_text_with_its_cosine(here, embedder, numformer, monkeypatch):
    write_forms(here)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    result = numformer("similar", "model", "--corpus", "x.txt", "the cats", "--top", "1")
    assert result.out == "the cats → 1.0000\n"


def test_vectors_that_were_written_are_used_again(here, embedder, numformer):
    write_forms(here)
    numformer("embed", "model", "--input", "x.txt", "--out", "v.npy")
    np.save("w.npy", np.load("v.npy")[[1, 2, 3, 0]])
    for name, index in (("v.npy", 3), ("w.npy", 2)):
        words = ("--corpus", "x.txt", "a dog", "--vectors", name, "--top", "1")
        assert found_by(numformer("similar", "model", *words))[0]["index"] == index


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--corpus", "y.txt", "a", "--vectors", "v.npy"], "v.npy: the vectors of 1 text are float32 [1, 16]"),
        (["--corpus", "x.txt", "a", "--vectors", "no.npy"], "there is no no.npy"),
        (["--corpus", "x.txt", "a", "--vectors", "x.txt"], "vectors are in a .npy file, got x.txt"),
        (["--corpus", "x.txt", " "], "the query must be a text, got ' '"),
        (["--corpus", "x.txt", "a", "--top", "0"], "top must be a whole number of at least 1, got 0"),
        (["--corpus", "no.txt", "a"], "could not read no.txt"),
        (["a"], "--corpus"),
        (["--corpus", "x.txt"], "QUERY"),
    ],
)
def test_a_comparison_that_cannot_be_is_refused(here, embedder, numformer, refused, words, message):
    write_forms(here)
    (here / "y.txt").write_text("a dog\n")
    numformer("embed", "model", *TEXTS, "--out", "v.npy")
    refused(lambda: numformer("similar", "model", *words), message)
