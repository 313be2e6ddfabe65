import numpy as np
import pytest

from numformer import GPT, ByteTokenizer, InputError, LanguageModel, SamplingConfig

TEXT = "the cat sat on the mat.\nthe dog sat on the hat.\n" * 30
SMALL = {"d_model": 16, "num_heads": 2, "num_layers": 1, "max_seq_len": 8}


class Words:
    """A tokenizer that anybody could write."""

    def __init__(self, text):
        self.words = sorted(set(text.split()))
        self.vocab_size = len(self.words)

    def encode(self, text):
        return [self.words.index(word) for word in text.split()]

    def decode(self, ids):
        return "".join(f"{self.words[i]} " for i in ids)


@pytest.fixture
def lm():
    return LanguageModel.from_text(TEXT, **SMALL)


def test_a_file_and_its_content_give_the_same_tokens(lm, tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    from_file = LanguageModel.from_text(tmp_path / "text.txt", **SMALL)
    np.testing.assert_array_equal(from_file.train_tokens, lm.train_tokens)
    np.testing.assert_array_equal(from_file.valid_tokens, lm.valid_tokens)


def test_the_vocabulary_is_the_tokenizers(lm):
    assert lm.model.config.vocab_size == lm.tokenizer.vocab_size == len(set(TEXT))


def test_a_tokenizer_of_ones_own_trains_and_generates():
    lm = LanguageModel.from_text(TEXT, tokenizer=Words(TEXT), **SMALL)
    lm.fit(steps=30, lr=1e-2, batch_size=8, progress=False)
    assert lm.generate("the cat", max_new_tokens=3, temperature=0.0) == "sat on the "


def test_a_tokenizer_without_save_is_refused_before_anything_is_overwritten(tmp_path, lm):
    lm.fit(steps=1, out=tmp_path / "run", progress=False)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    other = LanguageModel.from_text(TEXT, tokenizer=Words(TEXT), **SMALL)
    with pytest.raises(InputError, match=r"a Words cannot be saved in .*: it has no save"):
        other.fit(steps=1, out=tmp_path / "run", overwrite=True, progress=False)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_saved_tokenizer_can_be_named_by_its_folder(lm, tmp_path):
    ByteTokenizer().save(tmp_path)
    other = LanguageModel.from_text(TEXT, tokenizer=tmp_path, **SMALL)
    assert isinstance(other.tokenizer, ByteTokenizer)
    assert other.source["tokenizer"] == str(tmp_path)


def test_pieces_come_as_they_are_made_and_join_to_the_text(lm):
    pieces = []
    text = lm.generate("the ", max_new_tokens=30, on_text=pieces.append)
    assert "".join(pieces) == text
    assert len(pieces) == len(text) == 30


def test_a_model_of_bytes_writes_text_that_can_be_printed(tmp_path):
    task = LanguageModel.from_text(
        "é日😀" * 100 + "\n", tokenizer="bytes", d_model=16, num_heads=2, num_layers=1, max_seq_len=8
    )
    pieces = []
    texts = task.generate("é", 100, num_samples=3, on_text=pieces.append)
    assert all(text.encode().decode() == text for text in [*texts, *pieces])
    assert "".join(pieces) == texts[0]
    assert "\ufffd" in texts[0]


def test_several_samples_differ_and_the_first_is_the_one_sample(lm):
    texts = lm.generate("the ", max_new_tokens=30, num_samples=3, seed=4)
    assert len(set(texts)) == 3
    assert texts[0] == lm.generate("the ", max_new_tokens=30, seed=4)


@pytest.mark.parametrize("stop", ["t", "he", "\n"])
def test_a_text_ends_before_its_stop_string(lm, stop):
    free = lm.generate("the ", max_new_tokens=200, seed=1)
    assert lm.generate("the ", max_new_tokens=200, seed=1, stop=[stop]) == free.partition(stop)[0]


def test_settings_may_come_as_one_object(lm):
    expected = lm.generate("the ", max_new_tokens=20, temperature=0.5, top_k=3)
    assert lm.generate("the ", max_new_tokens=20, sampling=SamplingConfig(temperature=0.5, top_k=3)) == expected


@pytest.mark.parametrize("text", [TEXT, TEXT.replace("\n", " ")], ids=["newlines", "none"])
def test_an_empty_prompt_starts_from_a_newline_or_else_the_first_token(tmp_path, text):
    (tmp_path / "text.txt").write_text(text)
    lm = LanguageModel.from_text(tmp_path / "text.txt", **SMALL)
    expected = lm.generate("\n" if "\n" in text else lm.tokenizer.decode([0]), max_new_tokens=9)
    assert lm.generate(max_new_tokens=9) == expected


def test_a_vocabulary_wider_than_the_tokenizers_never_gives_an_unknown_token():
    lm = LanguageModel.from_text(TEXT, vocab_size=500, **SMALL)
    assert len(lm.generate(max_new_tokens=50)) == 50


def test_the_end_token_ends_a_text():
    lm = LanguageModel.from_text(TEXT, tokenizer="bytes", **SMALL)
    lm.model.norm.weight.data[...] = 0.0
    lm.model.norm.bias.data[...] = lm.model.token_embedding.weight.data[lm.tokenizer.eos_id]
    assert lm.generate("the", max_new_tokens=20, temperature=0.0) == ""


@pytest.mark.parametrize("with_text", [True, False])
def test_evaluation_is_the_mean_over_every_token_but_the_first(lm, with_text):
    text = TEXT[:203] if with_text else lm.tokenizer.decode(lm.valid_tokens)
    found = lm.evaluate(text if with_text else None)
    ids = lm.tokenizer.encode(text).astype(np.int64)
    total = 0.0
    for at in range(0, len(ids) - 1, 8):
        window = ids[at : at + 9]
        logits = lm.model.eval()(window[None, :-1]).data[0].astype(np.float64)
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        total -= log_p[np.arange(len(window) - 1), window[1:]].sum()
    assert found["tokens"] == len(ids) - 1
    assert found["loss"] == pytest.approx(total / (len(ids) - 1), rel=1e-5)
    assert found["perplexity"] == pytest.approx(np.exp(found["loss"]))


def test_evaluation_may_be_cut_short(lm):
    assert lm.evaluate(max_windows=3)["tokens"] == 24


def test_a_saved_model_writes_the_same_text(lm, tmp_path):
    lm.save(tmp_path)
    assert LanguageModel.load(tmp_path).generate("the ", max_new_tokens=30) == lm.generate("the ", max_new_tokens=30)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda lm, path: LanguageModel.from_text("no/such/file.txt"), r"there is no file no/such/file\.txt"),
        (lambda lm, path: LanguageModel.from_text(path / "empty.txt"), r"empty\.txt is empty"),
        (lambda lm, path: LanguageModel.from_text("a\nb\n", max_seq_len=64), "training text has 3 tokens, fewer than"),
        (lambda lm, path: LanguageModel.from_text(TEXT, vocab_size=3), "vocab_size=3 is below the 14 tokens"),
        (lambda lm, path: LanguageModel.from_text(TEXT, d_model=10, num_heads=3), "num_heads=3 does not divide"),
        (lambda lm, path: LanguageModel.from_text(TEXT, valid_fraction=1.0), "valid_fraction must be"),
        (lambda lm, path: LanguageModel(GPT(vocab_size=5, **SMALL), None).fit(), "no text to train on"),
        (lambda lm, path: LanguageModel(GPT(vocab_size=5, **SMALL), None).evaluate(), "no held-out text"),
        (lambda lm, path: lm.fit(stepz=3), "unknown setting stepz; known are accumulation, backend, batch_size"),
        (lambda lm, path: lm.fit(steps=-1), "steps must be at least 0"),
        (lambda lm, path: lm.fit(batch_size=2, shards=3), "batch_size=2 cannot be cut into 3 shards of 1 piece"),
        (lambda lm, path: lm.fit(batch_size=2, accumulation=3), "batch_size=2 cannot be cut into 1 shard of 3 pieces"),
        (lambda lm, path: lm.fit(lr=-1.0), "lr must be at least 0"),
        (lambda lm, path: lm.fit(clip_norm=-1.0), "clip_norm must be at least 0"),
        (lambda lm, path: lm.fit(clip_norm=float("nan")), "clip_norm must be at least 0"),
        (lambda lm, path: lm.fit(out=path / "no run", resume=True), r"there is no .*run\.toml"),
        (lambda lm, path: lm.generate("é"), "the character 'é' at position 0 is not among the 14 characters"),
        (lambda lm, path: lm.generate(num_samples=0), "num_samples must be at least 1, got 0"),
        (lambda lm, path: lm.generate(stop="x"), "expected a list of strings"),
        (lambda lm, path: lm.evaluate("é\n"), "the character 'é'"),
        (lambda lm, path: lm.evaluate("\n"), "takes a text of at least 2 tokens, got 1"),
        (lambda lm, path: lm.evaluate(max_windows=0), "max_windows must be at least 1, got 0"),
        (lambda lm, path: LanguageModel.load(path / "nowhere"), "there is no folder"),
        (lambda lm, path: lm.load_held_out(path), r"does not say what it was trained on: it has no run\.toml"),
    ],
)
def test_wrong_input_is_refused_in_a_sentence(lm, tmp_path, make, message):
    (tmp_path / "empty.txt").touch()
    with pytest.raises(InputError, match=message) as caught:
        make(lm, tmp_path)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["empty.txt"]
