"""`numformer attention`."""

import numpy as np
import pytest

from numformer.tasks import load_task

PNG = b"\x89PNG"


@pytest.fixture
def drawn(monkeypatch):
    """What the command draws: the weights, the tokens and the title."""
    calls = []

    def draw(weights, queries, keys, path, title):
        calls.append((weights, list(queries), list(keys), title))
        path.write_bytes(PNG)

    monkeypatch.setattr("numformer.cli.attention.draw_attention", draw)
    return calls


def test_all_layers_and_heads_are_drawn_unless_one_is_chosen(here, finished_run, numformer, drawn):
    assert numformer("attention", finished_run, "the ", "--out", here / "a.png").status == 0
    assert numformer("attention", finished_run, "the ", "--out", here / "a.png", "--layer=-1", "--head=1").status == 0
    (all_weights, queries, keys, _), (one_head, _, _, title) = drawn
    assert all_weights.shape == (2, 4, 4)
    assert queries == keys == list("the ")
    expected = [each.weights for each in load_task(finished_run).attention("the ")]
    np.testing.assert_array_equal(all_weights, expected[0])
    np.testing.assert_array_equal(one_head, expected[-1][1:2])
    assert title == "layers.0.self_attn, head 1"


def test_a_layer_or_head_that_is_not_there_is_refused(here, finished_run, numformer, refused):
    for option in ("--layer=1", "--layer=-2", "--head=2"):
        refused(
            lambda option=option: numformer("attention", finished_run, "the ", "--out=a.png", option), "there is no "
        )


def test_many_small_maps_come_with_a_word_on_how_to_see_one_large(here, finished_run, numformer, drawn, monkeypatch):
    monkeypatch.setattr("numformer.cli.attention.MANY_TOKENS", 3)
    said = "the maps of 4 tokens are small: choose one with --layer and --head to see it large"
    assert said in numformer("attention", finished_run, "the ", "--out", here / "a.png").err
    assert (
        said not in numformer("attention", finished_run, "the ", "--out", here / "a.png", "--layer=0", "--head=0").err
    )
    assert said not in numformer("attention", finished_run, "the", "--out", here / "a.png").err


@pytest.mark.parametrize(
    ("task", "option"), [("classify", "--target=a"), ("qa", "--part=encoder"), ("seq2seq", "--context=a")]
)
def test_an_option_of_another_task_is_refused(here, runs_of_tasks, numformer, refused, task, option):
    refused(
        lambda: numformer("attention", runs_of_tasks(task), "Ann", "--out=a.png", option),
        f"{option.partition('=')[0]} is not for {runs_of_tasks(task)}, whose task is {task}",
    )


def test_no_file_but_a_picture_is_drawn_over(examples, runs_of_tasks, numformer, refused):
    message = "a picture is written to a file that ends in .png, got pairs.tsv"
    refused(lambda: numformer("attention", runs_of_tasks("classify"), "Ann", "--out=pairs.tsv"), message)
    refused(lambda: numformer("evaluate", runs_of_tasks("classify"), "--confusion-matrix=pairs.tsv"), message)


def test_a_text_that_does_not_fit_is_refused(finished_run, numformer, refused):
    refused(
        lambda: numformer("attention", finished_run, "the" * 9, "--out=a.png"), "takes a text of 1 to 8 tokens, got 27"
    )


def test_the_attention_of_a_translation_has_the_tokens_of_both_sides(here, runs_of_tasks, numformer, drawn):
    run, parts = runs_of_tasks("seq2seq"), ("encoder", "decoder", "cross")
    for part in parts:
        words = ("attention", run, "ab", "--target=cd", f"--part={part}", "--out", here / "a.png")
        assert numformer(*words).status == 0
    for (weights, queries, keys, title), part in zip(drawn, parts, strict=True):
        assert weights.shape[-2:] == (len(queries), len(keys))
        source, read, written = [*"ab", "<eos>"], ["<bos>", *"cd"], [*"cd", "<eos>"]
        assert (queries, keys) == {"encoder": (source, source), "decoder": (read, read), "cross": (written, source)}[
            part
        ]
        assert title.endswith("cross_attn") == (part == "cross")
