import json

import numpy as np
import pytest

from numformer import ByteTokenizer, InputError, LanguageModel
from numformer.cli.main import main
from numformer.ops.loss import IGNORE
from numformer.tasks.language_model import language_model
from numformer.tasks.language_model.dialogues import encode_dialogue
from numformer.tasks.language_model.format import Dialogue, Piece, read_examples
from numformer.tasks.language_model.objective import PackedObjective
from numformer.tasks.language_model.packing import Encoded, encode_examples, pack
from numformer.training import TrainConfig

SMALL = {"d_model": 16, "num_heads": 2, "num_layers": 1, "max_seq_len": 16}
END = ByteTokenizer().eos_id


class Template:
    """Messages as bytes, with a sign before each and 255 after it."""

    def encode(self, messages, add_generation_prompt=False):
        ids = [id for each in messages for id in [*self.sign(each["role"]), *each["content"].encode(), 255]]
        return ids + (self.sign("assistant") if add_generation_prompt else [])

    def sign(self, role):
        return [254, {"system": 1, "user": 2, "assistant": 3}[role]]


class Rewriting(Template):
    """Leaves earlier answers out, as some templates do."""

    def encode(self, messages, add_generation_prompt=False):
        kept = [each for number, each in enumerate(messages) if each["role"] == "user" or number == len(messages) - 1]
        return super().encode(kept, add_generation_prompt)


def write(folder, *rows):
    path = folder / "examples.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def dialogue(*contents):
    roles = ("user", "assistant") * len(contents)
    return {"messages": [{"role": role, "content": content} for role, content in zip(roles, contents, strict=False)]}


def encoded(*examples, length=16, template=None):
    return encode_examples(examples, ByteTokenizer(), length, template)


def learned(example):
    return bytes(int(id) for id in example.ids[example.counts] if id < 256).decode("latin-1")


def example_of(length, counted=None):
    counts = np.ones(length, bool) if counted is None else np.arange(length) >= length - counted
    return Encoded(np.arange(length) + 100 * length, counts)


# Reading


def test_texts_prompts_and_dialogues_are_read_from_one_file(tmp_path):
    found = read_examples(write(tmp_path, {"text": "a b"}, {"prompt": "q ", "completion": " a"}, dialogue("hi", "ho")))
    assert list(found) == [
        (Piece("a b", True),),
        (Piece("q ", False), Piece(" a", True)),
        Dialogue(({"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"})),
    ]
    assert found.report() == "3 examples; 1 text, 1 prompt, 1 dialogue"


def test_what_is_blank_is_left_out_and_counted(tmp_path):
    rows = [{"text": " "}, {"prompt": "q", "completion": ""}, dialogue("hi"), {"text": "kept"}]
    found = read_examples(write(tmp_path, *rows))
    assert len(found) == 1
    assert found.left_out == {"blank text": 1, "blank completion": 1, "without an answer of the assistant": 1}


def test_of_a_file_without_examples_no_kinds_are_said(tmp_path):
    assert read_examples(write(tmp_path, dialogue("hi"))).report().startswith("1 example; 1 left out (1 without")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"Text": "a"}, r"line 1: expected .*, the keys are 'Text'"),
        ({"prompt": "a"}, r"line 1: there is no 'completion'"),
        ({"prompt": 1, "completion": "b"}, r"line 1: the prompt must be text, got an integer"),
        ({"messages": "hi"}, r"line 1: messages must be a list, got text"),
        ({"messages": ["hi"]}, r"line 1: a message must be an object with role and content, got text"),
        ({"messages": [{"role": "bot", "content": "a"}]}, r"line 1: the role of a message is one of .*, got 'bot'"),
        ({"messages": [{"role": "user"}]}, r"line 1: there is no 'content'"),
    ],
)
def test_a_malformed_example_is_an_error_with_its_line_or_left_out(row, message, tmp_path):
    path = write(tmp_path, row, {"text": "kept"})
    with pytest.raises(InputError, match=message):
        read_examples(path)
    assert read_examples(path, skip_bad=True).left_out == {"malformed": 1}


# Ids


def test_a_prompt_is_not_learned_and_an_end_follows(tmp_path):
    (found,) = encoded((Piece("ab", False), Piece("cd", True)))
    assert found.ids.tolist() == [*b"abcd", END]
    assert found.counts.tolist() == [False, False, True, True, True]


def test_only_the_answers_of_a_dialogue_are_learned():
    (found,) = encoded(Dialogue(tuple(dialogue("q1", "a1", "q2", "a2")["messages"])), length=64, template=Template())
    assert learned(found) == "a1\xffa2\xff"
    assert found.ids[-1] == END


def test_a_token_that_reaches_over_the_beginning_of_an_answer_is_learned():
    class Joining(Template):
        """Makes one token of the sign of an answer and a blank after it."""

        def encode(self, messages, add_generation_prompt=False):
            ids = super().encode(messages, add_generation_prompt)
            joined = bytes(ids).replace(b"\x03 ", b"\x04")
            return list(joined)

    ids, counts = encode_dialogue(Dialogue(tuple(dialogue("q", " a")["messages"])), Joining())
    assert ids[counts].tolist() == [4, *b"a", 255]


def test_a_template_that_rewrites_earlier_messages_is_refused():
    with pytest.raises(InputError, match="writes messages otherwise when others follow"):
        encode_dialogue(Dialogue(tuple(dialogue("q1", "a1", "q2", "a2")["messages"])), Rewriting())


def test_a_dialogue_without_a_template_is_refused():
    with pytest.raises(InputError, match="need a chat template"):
        encoded(Dialogue(tuple(dialogue("q", "a")["messages"])))


def test_a_long_text_is_cut_into_pieces_that_predict_every_token_once(capsys):
    found = encoded((Piece("abcdefghij", True),), length=4)
    targets = [id for piece in found for id in piece.ids[1:].tolist()]
    assert targets == [*b"bcdefghij", END]
    assert max(len(piece.ids) for piece in found) == 5
    assert "1 of 1 example over 4 tokens: texts are cut into several" in capsys.readouterr().err


def test_an_example_whose_answer_is_wholly_cut_is_left_out_and_counted(capsys):
    found = encoded((Piece("abcdefgh", False), Piece("x", True)), (Piece("ab", False), Piece("cdefgh", True)), length=4)
    assert [learned(each) for each in found] == ["cde"]
    said = capsys.readouterr().err
    assert "2 of 2 examples over 4 tokens" in said
    assert "1 of 2 examples left out, for nothing of what is to be learned is left of them" in said


# Rows


def test_rows_hold_whole_examples_and_little_padding():
    sizes = [9, 7, 5, 5, 4, 3]
    rows = pack([example_of(size + 1) for size in sizes], 11)
    assert sorted(len(row.tokens) for row in rows) == [3, 9, 10, 11]  # 7 + 4, 5 + 5
    assert sum(len(np.unique(row.segments)) for row in rows) == len(sizes)


def test_no_target_crosses_into_the_next_example():
    (row,) = pack([example_of(4), example_of(3, counted=1)], 8)
    assert row.tokens.tolist() == [400, 401, 402, 300, 301]
    assert row.segments.tolist() == [0, 0, 0, 1, 1]
    assert row.targets.tolist() == [401, 402, 403, IGNORE, 302]


@pytest.fixture
def objective():
    model = LanguageModel.from_text("ab\n" * 20, tokenizer="bytes", **SMALL).model
    rng = np.random.default_rng(0)
    for parameter in model.parameters():
        parameter.data = (rng.standard_normal(parameter.shape) * 0.3).astype(np.float32)
    examples = [(Piece("ab", False), Piece(word, True)) for word in ("cat", "dog", "a mouse", "owl")]
    rows = pack(encoded(*examples), 16)
    return PackedObjective(model, ByteTokenizer(), rows, None, TrainConfig(batch_size=4))


def test_the_loss_of_packed_examples_is_the_sum_of_their_own(objective):
    batch = objective.collate(objective.examples)
    alone = 0.0
    for row in objective.examples:
        for number in np.unique(row.segments):
            own = row.segments == number
            logits = objective.model(row.tokens[own][None]).data[0].astype(np.float64)
            log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
            targets = row.targets[own]
            alone -= sum(log_probs[i, target] for i, target in enumerate(targets) if target != IGNORE)
    assert objective.loss_sum(*batch).item() == pytest.approx(alone, rel=1e-5)
    assert objective.num_tokens(*batch) == sum(len(word) + 1 for word in ("cat", "dog", "a mouse", "owl"))


def test_a_piece_of_a_batch_without_targets_has_no_loss(objective):
    tokens, segments, targets = objective.collate(objective.examples)
    assert objective.loss_sum(tokens, segments, np.full_like(targets, IGNORE)).item() == 0.0


# Training


ROWS = [{"prompt": f"the {a} ", "completion": f"{b}."} for a, b in (("cat", "purrs"), ("dog", "barks"))] * 12


def test_completions_are_learned(tmp_path):
    lm = LanguageModel.from_text(write(tmp_path, *ROWS), tokenizer="bytes", valid_fraction=0.0, **SMALL)
    before = lm.evaluate(tmp_path / "examples.jsonl")
    lm.fit(steps=60, lr=1e-2, batch_size=8, progress=False)
    assert lm.evaluate(tmp_path / "examples.jsonl")["loss"] < 0.1 * before["loss"]
    assert before["tokens"] == 24 * 7
    assert lm.generate("the dog ", 20, temperature=0.0) == "barks."


def test_the_result_does_not_depend_on_the_number_of_processes(tmp_path):
    path, weights = write(tmp_path, *ROWS, {"text": "a longer text"}), []
    for threads in (1, 2):
        lm = LanguageModel.from_text(path, tokenizer="bytes", **SMALL)
        lm.fit(steps=4, batch_size=4, shards=2, accumulation=2, threads=threads, progress=False)
        weights.append(lm.model.state_dict())
    for name, value in weights[0].items():
        np.testing.assert_array_equal(weights[1][name], value)


def test_some_examples_are_held_out_and_measured(tmp_path, capsys):
    rows = [{"text": f"text {number}"} for number in range(20)]
    lm = LanguageModel.from_text(write(tmp_path, *rows), tokenizer="bytes", valid_fraction=0.2, **SMALL)
    assert (len(lm.train_examples), len(lm.valid_examples)) == (16, 4)
    assert "held out: 4 examples" in capsys.readouterr().err
    result = lm.fit(steps=2, eval_every=1, batch_size=4, progress=False, out=tmp_path / "run")
    assert lm.evaluate()["loss"] == pytest.approx(result.best_loss, rel=1e-6)


def test_equal_examples_stay_on_one_side_which_is_said(tmp_path, capsys):
    lm = LanguageModel.from_text(write(tmp_path, *ROWS), tokenizer="bytes", valid_fraction=0.2, **SMALL)
    assert (len(lm.train_examples), len(lm.valid_examples)) == (24, 0)
    assert "0 of 24 examples held out, not 5: equal examples stay on one side" in capsys.readouterr().err


def test_a_run_measures_what_it_held_out_and_notices_other_examples(tmp_path):
    path = write(tmp_path, *[{"text": f"text {number}"} for number in range(20)])
    lm = LanguageModel.from_text(path, tokenizer="bytes", valid_fraction=0.2, seed=3, **SMALL)
    result = lm.fit(steps=2, eval_every=2, batch_size=4, progress=False, out=tmp_path / "run")
    loaded = LanguageModel.load(tmp_path / "run")
    loaded.load_held_out(tmp_path / "run")
    assert loaded.evaluate()["loss"] == pytest.approx(result.best_loss, rel=1e-6)
    path.write_text(path.read_text().replace("text 3", "text x"))
    with pytest.raises(InputError, match="has changed since the run began"):
        loaded.load_held_out(tmp_path / "run")


def test_a_tokenizer_is_trained_on_the_texts_of_the_examples(tmp_path):
    lm = LanguageModel.from_text(
        write(tmp_path, {"prompt": "ab", "completion": "cd"}, {"text": "é"}), valid_fraction=0.0, **SMALL
    )
    assert set(lm.tokenizer.decode(range(lm.tokenizer.vocab_size))) == set("abcdé\n")  # fmt: skip


def test_a_sequence_length_bounds_the_rows(tmp_path):
    lm = LanguageModel.from_text(write(tmp_path, *ROWS), tokenizer="bytes", sequence_length=12, **SMALL)
    assert lm.objective(TrainConfig()).batch(1)[0].shape[1] <= 12
    with pytest.raises(InputError, match="sequence_length must be 1 to 16"):
        LanguageModel.from_text(write(tmp_path, *ROWS), tokenizer="bytes", sequence_length=17, **SMALL)


def test_a_model_to_start_from_that_sees_more_is_trained_on_less_at_a_time_which_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(language_model, "MOST_TOKENS", 10)
    path = write(tmp_path, *ROWS)
    LanguageModel.from_text(path, tokenizer="bytes", **SMALL).save(tmp_path / "base")
    assert "at a time" not in capsys.readouterr().err
    lm = LanguageModel.from_text(path, pretrained=tmp_path / "base")
    assert "trained on 10 tokens at a time of 16 that the model reads" in capsys.readouterr().err
    assert lm.objective(TrainConfig()).batch(1)[0].shape[1] <= 10
    lm = LanguageModel.from_text(path, pretrained=tmp_path / "base", sequence_length=16)
    assert 10 < lm.objective(TrainConfig()).batch(1)[0].shape[1] <= 16


def test_examples_of_which_nothing_is_left_are_refused(tmp_path):
    rows = [{"prompt": "x" * 40, "completion": "y"}, {"prompt": "z" * 40, "completion": "y"}]
    with pytest.raises(InputError, match="there is nothing to learn in its examples"):
        LanguageModel.from_text(write(tmp_path, *rows), tokenizer="bytes", **SMALL)


def test_dialogues_are_learned_through_the_template_of_the_model(chat_folder, tmp_path):
    path = write(tmp_path, *[dialogue(f"{word} sat", "on the mat") for word in ("the", "cat", "dog", "man") * 2])
    lm = LanguageModel.from_text(path, pretrained=chat_folder(), valid_fraction=0.25)
    ends = {lm.template.end_of_turn(), *lm.end_ids}
    for each in lm.train_examples:
        answer = each.ids[each.counts]
        assert lm.tokenizer.decode(answer).strip() == "on the mat"
        assert ends & set(answer.tolist())
    before = lm.evaluate()["loss"]
    assert lm.fit(steps=30, lr=1e-2, batch_size=4, eval_every=30, progress=False).best_loss < before / 2


def test_texts_need_no_template(chat_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(LanguageModel, "template", property(lambda self: pytest.fail("it was asked for")))
    lm = LanguageModel.from_text(write(tmp_path, {"text": "the cat sat"}), pretrained=chat_folder(), valid_fraction=0.0)
    assert len(lm.train_examples) == 1


def test_examples_begin_as_a_prompt_to_be_continued_does():
    tokenizer = ByteTokenizer()
    tokenizer.begin_ids = [257]
    asked, text = encode_examples([(Piece("ab", False), Piece("c", True)), (Piece("d", True),)], tokenizer, 16, None)
    assert (asked.ids.tolist(), learned(asked)[0]) == ([257, *b"abc", END], "c")
    assert text.ids.tolist() == [257, *b"d", END]


def test_a_run_with_a_length_of_its_own_and_bad_rows_left_out_is_resumed_to_the_same_bytes(tmp_path):
    data = write(tmp_path, *ROWS)
    data.write_text(data.read_text() + "{no json\n")
    command = ["train", "lm", "--sample", "0", "--train.batch-size", "2", "--train.eval-every", "2"]
    own = [
        "--data",
        str(data),
        "--tokenizer",
        "bytes",
        "--sequence-length",
        "12",
        "--skip-bad",
        "--valid-fraction",
        "0.2",
    ]
    shape = ["--model.d-model", "8", "--model.num-heads", "2", "--model.num-layers", "1", "--model.max-seq-len", "16"]
    assert main([*command, *own, *shape, "--train.steps", "4", "--out", str(tmp_path / "whole")]) == 0
    assert main([*command, *own, *shape, "--train.steps", "2", "--out", str(tmp_path / "parts")]) == 0
    assert main(["train", "lm", "--out", str(tmp_path / "parts"), "--resume", "--train.steps", "4"]) == 0
    whole, parts = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "parts"))
    assert whole == parts
