import numpy as np
import pytest

from numformer import Classifier, InputError, LanguageModel, MaskedLanguageModel, QuestionAnswerer, Tagger
from numformer.data.squad import Question
from numformer.data.tagged.conll import TaggedSentence
from numformer.nn import Linear
from numformer.tasks.masked_language_model import MaskedObjective
from numformer.tokenizers import CharacterTokenizer
from numformer.training import TrainConfig
from numformer.training.run_folder import read_toml
from numformer.training.workers import Workers

SMALL = {"d_model": 16, "num_heads": 2, "num_layers": 1, "max_seq_len": 16, "dropout": 0.0}
FAST = {"lr": 1e-2, "batch_size": 16, "shards": 1, "progress": False}
TEXT = "the cat sat on the mat.\n" * 30


def make(text=TEXT, **settings):
    return MaskedLanguageModel.from_text(text, **SMALL | settings)


def objective(batch_size=8, seed=0, **settings):
    task = make(**settings)
    return task.objective(TrainConfig(batch_size=batch_size, seed=seed)), task.tokenizer


@pytest.fixture(scope="module")
def mlm():
    task = make()
    task.fit(steps=20, **FAST)
    return task


@pytest.fixture(scope="module")
def speller():
    """A model that knows a row of letters by heart."""
    task = make("abcdef\n" * 60, d_model=32)
    task.fit(steps=400, schedule="constant", weight_decay=0.0, **FAST | {"batch_size": 32, "lr": 5e-3})
    return task


@pytest.mark.parametrize("tokenizer", ["characters", "bytes", "bpe"])
def test_windows_stand_between_the_begin_and_end_tokens_and_those_are_never_targets(tokenizer):
    hidden, tokens = objective(tokenizer=tokenizer, vocab_size=300)
    inputs, targets = hidden.batch(1)
    assert inputs.shape == targets.shape == (8, 16)
    assert (inputs[:, 0] == tokens.bos_id).all()
    assert (inputs[:, -1] == tokens.eos_id).all()
    assert (targets[:, [0, -1]] == -100).all()


def test_targets_are_what_stood_at_the_hidden_places_and_nothing_elsewhere():
    hidden, tokens = objective(batch_size=40)
    inputs, targets = hidden.batch(1)
    restored = np.where(targets >= 0, targets, inputs)[:, 1:-1]
    assert all(tokens.decode(row) in TEXT for row in restored)
    assert (targets[inputs == tokens.mask_id] >= 0).all()


def test_of_fifteen_in_a_hundred_tokens_80_are_masked_10_are_others_and_10_stay():
    task = make()
    tokens = np.random.default_rng(0).integers(0, 9, 200_000)
    hidden = MaskedObjective(task.model, task.tokenizer, tokens, None, TrainConfig(batch_size=8000))
    inputs, targets = (part[:, 1:-1] for part in hidden.batch(1))
    chosen = targets >= 0
    assert chosen.mean() == pytest.approx(0.15, abs=0.005)
    shown, meant = inputs[chosen], targets[chosen]
    size = task.tokenizer.vocab_size
    assert (shown == task.tokenizer.mask_id).mean() == pytest.approx(0.8 + 0.1 / size, abs=0.01)
    assert (shown == meant).mean() == pytest.approx(0.1 + 0.1 / size, abs=0.01)
    others = shown[(shown != task.tokenizer.mask_id) & (shown != meant)]
    assert len(others) / len(shown) == pytest.approx(0.1 * (1 - 2 / size), abs=0.01)
    assert set(others.tolist()) == set(range(size)) - {task.tokenizer.mask_id}


def test_what_is_hidden_follows_from_the_seed_and_the_step_alone():
    first, again = objective()[0], objective()[0]
    last = [part.copy() for part in first.batch(9)]
    first.batch(2)
    for one, other in zip(last, again.batch(9), strict=True):
        np.testing.assert_array_equal(one, other)
    for other in (first.batch(8), objective(seed=1)[0].batch(9)):
        assert not np.array_equal(other[1], last[1])


def test_the_same_places_are_hidden_at_every_evaluation():
    hidden, _ = objective()
    twice = [[targets for _, targets in hidden.held_out()] for _ in range(2)]
    for one, other in zip(*twice, strict=True):
        np.testing.assert_array_equal(one, other)
    other_seed = [targets for _, targets in objective(seed=1)[0].held_out()]
    for one, other in zip(twice[0], other_seed, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_batch_in_which_nothing_happens_to_be_hidden_does_no_harm():
    task = make(max_seq_len=3)
    result = task.fit(steps=12, **FAST | {"batch_size": 1})
    assert np.isfinite(result.loss)
    assert all(np.isfinite(value).all() for value in task.model.state_dict().values())


def test_a_held_out_text_in_which_nothing_is_hidden_gives_no_figures():
    hidden, _ = objective()
    hidden.valid_tokens = hidden.valid_tokens[:2]
    with Workers(1) as workers:
        assert hidden.evaluate(workers) is None


@pytest.mark.parametrize("mark", ["[MASK]", "<mask>"])
def test_a_mark_is_filled_in(speller, mark):
    (found,) = speller.predict([f"abcdef\na{mark}cdef"], top_k=3)
    (choices,) = found["masks"]
    assert choices[0]["token"] == "b"
    scores = [choice["score"] for choice in choices]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
    (found,) = speller.predict([f"a{mark}c"], top_k=999)
    assert sum(choice["score"] for choice in found["masks"][0]) == pytest.approx(1.0)


def test_every_mark_of_every_text_has_its_choices_in_order(speller):
    texts = ["abc[MASK]ef\nab[MASK]def", "ab[MASK]def\nabcdef", "abcdef\nabcd[MASK]f"]
    found = speller.predict(texts, top_k=1)
    assert [each["text"] for each in found] == texts
    assert [[mask[0]["token"] for mask in each["masks"]] for each in found] == [["d", "c"], ["c"], ["e"]]
    for each, text in zip(found, texts, strict=True):
        alone = speller.predict([text], top_k=1)[0]["masks"]
        assert [m[0]["score"] for m in each["masks"]] == pytest.approx([m[0]["score"] for m in alone], rel=1e-3)
    assert speller.predict([]) == []


def test_evaluation_is_of_the_hidden_tokens(speller):
    text = "abcdef\n" * 40 + "fed"
    scores = speller.evaluate(text)
    assert scores["accuracy"] > 0.5
    assert scores["perplexity"] == pytest.approx(np.exp(scores["loss"]))
    hidden = speller.objective(TrainConfig())
    total = count = right = 0
    for inputs, targets in hidden.hidden(speller.tokenizer.encode(text), None):
        logits = speller.model(inputs).data.astype(np.float64)
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        for place in zip(*np.nonzero(targets >= 0), strict=True):
            total, count = total - log_p[place][targets[place]], count + 1
            right += int(log_p[place].argmax() == targets[place])
    assert scores["tokens"] == count
    assert scores["accuracy"] == right / count
    assert scores["loss"] == pytest.approx(total / count, rel=1e-5)
    assert speller.evaluate(text, max_windows=2)["tokens"] < count


def test_a_text_shorter_than_the_context_can_be_measured(tmp_path):
    task = make(max_seq_len=64)
    scores = task.evaluate(TEXT[:40])
    assert 1 <= scores["tokens"] < 40
    task.save(tmp_path)
    assert MaskedLanguageModel.load(tmp_path).evaluate(TEXT[:40]) == scores


def test_a_saved_model_predicts_the_same(mlm, tmp_path):
    mlm.save(tmp_path)
    assert MaskedLanguageModel.load(tmp_path).predict(["c[MASK]t"]) == mlm.predict(["c[MASK]t"])


def test_a_trained_model_goes_on_with_another_text(mlm, tmp_path):
    mlm.save(tmp_path)
    task = MaskedLanguageModel.from_text("a cat\n" * 20, pretrained=tmp_path)
    assert task.predict(["c[MASK]t"]) == mlm.predict(["c[MASK]t"])
    task.fit(steps=1, **FAST)


TOPICS = [("the cat", "x"), ("the mat", "y"), ("on the cat", "x"), ("on the mat", "y")] * 3
TAGGED = [TaggedSentence(["the", "cat"], ["D", "N"]), TaggedSentence(["sat", "on"], ["V", "P"])] * 3
ASKED = [Question(str(i), "cat", "the cat sat", (("cat", 4),)) for i in range(4)]


@pytest.mark.parametrize(
    ("task_class", "data"), [(Classifier, TOPICS), (Tagger, TAGGED), (QuestionAnswerer, ASKED)], ids=lambda x: ""
)
def test_other_tasks_start_from_its_weights_and_its_tokenizer(mlm, tmp_path, task_class, data):
    mlm.save(tmp_path)
    task = task_class.from_data(data, pretrained=tmp_path, valid_fraction=0.0)
    pretrained = mlm.model.backbone.state_dict()
    assert pretrained
    for name, value in task.model.backbone.state_dict().items():
        np.testing.assert_array_equal(value, pretrained[name])
    assert isinstance(task.tokenizer, CharacterTokenizer)
    assert task.tokenizer.characters == mlm.tokenizer.characters
    assert (
        task.fit(steps=30, **FAST).loss
        < 0.8 * task_class.from_data(data, pretrained=tmp_path, valid_fraction=0.0).fit(steps=1, **FAST).loss
    )
    task.save(tmp_path / "tuned")
    assert task_class.load(tmp_path / "tuned").tokenizer.characters == mlm.tokenizer.characters


def test_what_is_frozen_stays_to_the_bit_and_is_no_business_of_the_optimizer(mlm, tmp_path):
    mlm.save(tmp_path / "pretrained")
    frozen = ("backbone.embeddings", "backbone.layers.0.self_attn")
    task = Classifier.from_data(TOPICS, pretrained=tmp_path / "pretrained", freeze=frozen, valid_fraction=0.0)
    before = {name: value.copy() for name, value in task.model.state_dict().items()}
    task.fit(steps=5, out=tmp_path / "run", **FAST)
    after = task.model.state_dict()
    still = {name for name in before if np.array_equal(before[name], after[name])}
    assert still == {name for name in before if name.startswith(frozen)}
    trained = sum(value.size for name, value in before.items() if name not in still)
    assert sum(p.data.size for p in task.model.parameters() if p.requires_grad) == trained
    settings = read_toml(tmp_path / "run" / "run.toml")
    assert settings["freeze"] == list(frozen)
    assert settings["pretrained"] == str(tmp_path / "pretrained")


def test_a_run_with_frozen_parts_is_continued_to_the_same_weights(mlm, tmp_path):
    mlm.save(tmp_path / "pretrained")

    def run(out, **settings):
        task = Classifier.from_data(
            TOPICS, pretrained=tmp_path / "pretrained", freeze=("backbone.embeddings",), valid_fraction=0.0
        )
        task.fit(out=tmp_path / out, eval_every=2, schedule="constant", **FAST | settings)
        return (tmp_path / out / "model.safetensors").read_bytes()

    run("two", steps=4)
    assert run("two", steps=6, resume=True) == run("one", steps=6)


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda mlm, path: mlm.predict(["the cat"]), r"needs \[MASK\] in it, got 'the cat'"),
        (lambda mlm, path: mlm.predict(["the [MASK]" * 9]), "tokens does not fit max_seq_len=16"),
        (lambda mlm, path: mlm.predict("the [MASK]"), "a list of texts"),
        (lambda mlm, path: mlm.predict(["the [MASK]"], top_k=0), "top_k must be at least 1, got 0"),
        (lambda mlm, path: mlm.evaluate(max_windows=0), "max_windows must be at least 1, got 0"),
        (lambda mlm, path: mlm.evaluate("a\n"), "none of the text's 2 tokens happened to be hidden"),
        (lambda mlm, path: mlm.evaluate("\n"), "takes a text of at least 2 tokens, got 1"),
        (lambda mlm, path: make("a\nb\n"), "training text has 3 tokens, fewer than"),
        (lambda mlm, path: make(max_seq_len=2).fit(steps=1), "at least 1 token"),
        (lambda mlm, path: make(tokenizer="words"), "words loses the spaces"),
        (lambda mlm, path: make(tokenizer=CharacterTokenizer.from_text(TEXT)).fit(steps=1), "with a mask_id"),
        (lambda mlm, path: make(pretrained=path), "leave out the model's settings"),
        (
            lambda mlm, path: MaskedLanguageModel.from_text(TEXT, pretrained=path / "lm"),
            "holds a GPT; mlm needs a Mask",
        ),
        (lambda mlm, path: MaskedLanguageModel.from_text(TEXT, pretrained=path, freeze=["bart"]), "is named 'bart'"),
        (lambda mlm, path: MaskedLanguageModel.load(path).fit(), "no text to train on"),
        (lambda mlm, path: MaskedLanguageModel.load(path).evaluate(), "no held-out text"),
    ],
)
def test_wrong_input_is_refused_in_a_sentence(mlm, tmp_path, attempt, message):
    mlm.save(tmp_path)
    LanguageModel.from_text(TEXT, d_model=16, num_heads=2, num_layers=1, max_seq_len=8).save(tmp_path / "lm")
    with pytest.raises(InputError, match=message) as caught:
        attempt(mlm, tmp_path)
    assert "\n" not in str(caught.value)


def test_no_special_token_is_a_guess(mlm):
    (found,) = mlm.predict(["the c[MASK]t"], top_k=mlm.tokenizer.vocab_size - 5)
    assert all(choice["token"] for choice in found["masks"][0])
    assert sum(choice["score"] for choice in found["masks"][0]) == pytest.approx(1.0)


class OddTokenizer(CharacterTokenizer):
    """Three more ids: one that is a hashed feature or unused and so has no text, a special token, and half a character."""

    vocab_size = 26

    def decode(self, ids):
        return "".join(
            {23: "", 24: "", 25: "\udcff"}[i] if i > 22 else super(OddTokenizer, self).decode([i]) for i in ids
        )


@pytest.mark.parametrize("kind", ["characters", "bytes", "bpe", "wordpiece", "unigram", "odd"])
def test_every_guess_of_every_tokenizer_is_a_piece_of_text_that_can_be_printed(kind):
    if kind in ("bpe", "wordpiece", "unigram"):
        pytest.importorskip("tokenizers")
    tokenizer = OddTokenizer("abcdefghijklmnop \n", special_tokens=True) if kind == "odd" else kind
    task = make("abc def\n" * 60, tokenizer=tokenizer)
    special = {getattr(task.tokenizer, name) for name in ("pad_id", "bos_id", "eos_id", "unk_id", "mask_id")}
    [guesses] = task.predict(["ab[MASK]"], top_k=10_000)[0]["masks"]
    tokens = [guess["token"] for guess in guesses]
    assert len(tokens) == task.tokenizer.vocab_size - len(special) - 2 * (kind == "odd")
    assert all(token and token.encode() for token in tokens)
    assert {"[CLS]", "[UNK]", "[PAD]", "<unk>", "<pad>"}.isdisjoint(tokens)
    assert sum(guess["score"] for guess in guesses) == pytest.approx(1.0)


def test_a_window_over_the_bound_on_tokens_is_refused():
    with pytest.raises(InputError, match="batch_tokens=15 is less than a sequence, of 16 tokens"):
        make().objective(TrainConfig(batch_tokens=15))
    assert make().objective(TrainConfig(batch_tokens=35)).batch(1)[0].shape == (2, 16)


def test_the_vocabulary_is_decoded_once(monkeypatch):
    task = make("abc def\n" * 60, tokenizer="characters")
    first = task.predict(["ab[MASK]"])
    monkeypatch.setattr(task.tokenizer, "decode", None)
    assert task.predict(["ab[MASK]"]) == first


def test_going_on_leaves_the_layer_that_makes_summaries_as_it_is_for_what_starts_there(tmp_path):
    mlm = make()
    mlm.model.backbone.pooler = pooler = Linear(SMALL["d_model"], SMALL["d_model"])
    mlm.save(tmp_path / "start")
    MaskedLanguageModel.from_text(TEXT, pretrained=tmp_path / "start").fit(
        steps=3, out=tmp_path / "run", progress=False
    )
    task = Classifier.from_data(TOPICS, pretrained=tmp_path / "run", pooling="first", valid_fraction=0.0)
    np.testing.assert_array_equal(task.model.backbone.pooler.weight.data, pooler.weight.data)
    assert task.model.backbone.pooler.weight.requires_grad
