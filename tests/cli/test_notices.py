"""What commands say on stderr of texts that do not fit, beside the results on stdout."""

import json

import pytest

LONG = "Ann sees the cat. " * 30  # more than the 32 tokens of the models, whatever the tokenizer


@pytest.mark.parametrize(
    ("task", "things"), [("seq2seq", "sources"), ("summarise", "sources"), ("classify", "texts"), ("regress", "texts")]
)
def test_predict_says_how_many_texts_it_cuts(runs_of_tasks, numformer, task, things):
    result = numformer("predict", runs_of_tasks(task), LONG, "Ann", LONG)
    assert (result.status, result.err) == (0, f"2 of 3 {things} cut to max_seq_len=32 tokens\n")
    assert [json.loads(line).get(things[:-1], "") in (LONG, "Ann") for line in result.out.splitlines()] == [True] * 3


def test_translate_says_how_many_sources_it_cuts_and_prints_a_line_for_each(runs_of_tasks, numformer):
    result = numformer("translate", runs_of_tasks("seq2seq"), LONG, "Ann")
    assert (result.status, result.err) == (0, "1 of 2 sources cut to max_seq_len=32 tokens\n")
    assert result.out.count("\n") == 2


def test_evaluate_says_what_it_read_and_what_it_cuts(here, runs_of_tasks, numformer):
    (here / "new.csv").write_text(f"text,label\n{LONG},pos\nAnn,neg\n,neg\n")
    result = numformer("evaluate", runs_of_tasks("classify"), "--data=new.csv")
    assert result.err.splitlines() == [
        "new.csv: 3 rows; 1 left out (1 blank text, first at line 4); 2 labels: pos (1), neg (1)",
        "1 of 2 texts cut to max_seq_len=32 tokens",
    ]
    assert json.loads(result.out)["count"] == 2


def test_attention_says_that_it_cuts_a_text(here, runs_of_tasks, numformer):
    pytest.importorskip("matplotlib")
    result = numformer("attention", runs_of_tasks("classify"), LONG, "--out=a.png")
    assert result.err.splitlines()[0] == "1 of 1 text cut to max_seq_len=32 tokens"


def test_generate_says_how_much_of_a_prompt_is_seen(finished_run, numformer):
    result = numformer("generate", finished_run, "--prompt", "the cat sat", "--max-new-tokens", 1)
    assert result.err == "of the prompt's 11 tokens the model sees the last 7: max_seq_len=8\n"
    assert result.out.startswith("the cat sat")


def test_what_is_cut_is_said_once_of_all_pieces_of_an_input(here, runs_of_tasks, numformer):
    (here / "many.txt").write_text(f"{LONG}\nAnn\n" * 40)
    result = numformer("predict", runs_of_tasks("classify"), "--input=many.txt")
    assert result.out.count("\n") == 80
    assert result.err == "40 of 80 texts cut to max_seq_len=32 tokens\n"
