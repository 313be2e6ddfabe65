import json

import numpy as np
import pytest

from numformer import ByteTokenizer, InputError, Summariser, Translator
from numformer.generation import Hypothesis
from numformer.tokenizers import CharacterTokenizer, TokenizerPair
from numformer.tokenizers.saved import load_tokenizer
from numformer.training import TrainConfig

SMALL = {"d_model": 16, "num_heads": 2, "num_encoder_layers": 1, "num_decoder_layers": 1, "max_seq_len": 16}
SMALL |= {"d_ff": 32, "dropout": 0.0}
FAST = {"lr": 1e-2, "batch_size": 32, "shards": 1, "label_smoothing": 0.0, "progress": False}
TWENTY = [
    *(("one", "un"), ("two", "deux"), ("red", "rouge"), ("cat", "chat"), ("dog", "chien"), ("sea", "mer")),
    *(("sun", "soleil"), ("ten", "dix"), ("six", "sept"), ("day", "jour"), ("man", "homme"), ("tea", "thé")),
    *(("old", "vieux"), ("new", "neuf"), ("big", "grand"), ("sky", "ciel"), ("hat", "chapeau"), ("car", "auto")),
    *(("yes", "oui"), ("no", "non")),
]  # fmt: skip


def make(pairs=TWENTY, task=Translator, **settings):
    return task.from_data(pairs, **{"tokenizer": "characters", "valid_fraction": 0.0} | SMALL | settings)


@pytest.fixture(scope="module")
def translator():
    task = make()
    task.fit(steps=150, **FAST)
    return task


def sources(pairs=TWENTY):
    return [source for source, _ in pairs]


def targets(pairs=TWENTY):
    return [target for _, target in pairs]


def test_twenty_pairs_are_learned_by_heart(translator):
    assert translator.translate(sources()) == targets()
    scores = translator.evaluate(TWENTY)
    assert scores["exact_match"] == 1.0
    assert scores["count"] == 20
    assert scores["loss"] < 0.2


@pytest.mark.parametrize("tokenizer", ["bytes", "bpe", "unigram"])
def test_every_tokenizer_learns(tokenizer):
    pairs = TWENTY[:6]
    task = make(pairs, tokenizer=tokenizer, vocab_size=300 if tokenizer == "bpe" else 40)
    task.fit(steps=80, **FAST)
    assert task.translate(sources(pairs)) == targets(pairs)


def test_results_come_in_the_order_of_the_texts_and_as_each_alone(translator):
    texts = [text * times for times in (1, 3, 2) for text in sources()] * 2
    together = translator.predict(texts)
    assert [found["source"] for found in together] == texts
    assert [found["target"] for found in together[:20]] == targets()
    for text, found in list(zip(texts, together, strict=True))[::7]:
        (alone,) = translator.predict([text])
        assert found["target"] == alone["target"]
        assert found["score"] == pytest.approx(alone["score"], rel=1e-3, abs=1e-5)
    assert translator.predict([]) == []


def test_several_targets_come_best_first_and_differ(translator):
    (found,) = translator.predict(["cat"], num_beams=4, num_return=3)
    scores = [found["score"], *(other["score"] for other in found["alternatives"])]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
    assert len({found["target"], *(other["target"] for other in found["alternatives"])}) == 3
    assert found["target"] == "chat"
    assert "alternatives" not in translator.predict(["cat"], num_beams=4)[0]


def test_a_score_is_the_log_probability_per_token(translator):
    (found,) = translator.predict(["cat"], num_beams=1)
    tokens = translator.tokenizer.target
    ids = [tokens.bos_id, *tokens.encode("chat").tolist(), tokens.eos_id]
    src = [[*translator.tokenizer.source.encode("cat").tolist(), tokens.eos_id]]
    logits = translator.model.eval()(np.array(src), np.array([ids[:-1]])).data[0].astype(np.float64)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    total = log_p[np.arange(5), ids[1:]].sum()
    assert found["score"] == pytest.approx(total / 5, rel=1e-4)
    assert translator.predict(["cat"], num_beams=1, length_penalty=0.0)[0]["score"] == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("most", [1, 2, 100])
def test_a_target_has_at_most_so_many_tokens(translator, most):
    assert translator.translate(["cat"], max_new_tokens=most) == ["chat"[:most]]


def test_backwards_learns_from_the_second_text_to_the_first(tmp_path):
    (tmp_path / "pairs.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in TWENTY))
    task = make(tmp_path / "pairs.tsv", backwards=True)
    assert task.train_data == [(b, a) for a, b in TWENTY]
    task.fit(steps=150, **FAST)
    assert task.translate(targets()) == sources()
    assert task.evaluate(tmp_path / "pairs.tsv")["exact_match"] == 1.0


def test_json_has_keys_of_any_name(tmp_path):
    rows = [json.dumps({"en": source, "fr": target, "id": 3}, ensure_ascii=False) for source, target in TWENTY]
    (tmp_path / "pairs.jsonl").write_text("\n".join(rows))
    assert make(tmp_path / "pairs.jsonl", source="en", target="fr").train_data == TWENTY


def test_vocabularies_may_be_separate():
    pairs = TWENTY[:6]
    task = make(pairs, separate_vocabularies=True)
    tokenizers = task.tokenizer.source, task.tokenizer.target
    assert [set(tokenizer.characters) for tokenizer in tokenizers] == [
        set("".join(s)) for s in zip(*pairs, strict=True)
    ]
    sizes = task.model.config.src_vocab_size, task.model.config.tgt_vocab_size
    assert sizes == tuple(tokenizer.vocab_size for tokenizer in tokenizers)
    assert tokenizers[0].pad_id != tokenizers[1].pad_id
    assert task.model.config.pad_id == tokenizers[0].pad_id, "the padding of sources is masked"
    task.fit(steps=80, **FAST)
    assert task.translate(sources(pairs)) == targets(pairs)
    for (source, target), found in zip(pairs, task.predict(sources(pairs) * 3), strict=False):
        assert found["target"] == target, source


def test_separate_vocabularies_are_saved_and_loaded(tmp_path):
    task = make(separate_vocabularies=True, tokenizer="bpe", vocab_size=270)
    task.fit(steps=3, **FAST)
    task.save(tmp_path)
    loaded = Translator.load(tmp_path)
    assert loaded.tokenizer.source is not loaded.tokenizer.target
    assert loaded.tokenizer.source.vocab_size == loaded.tokenizer.target.vocab_size
    assert not loaded.model.config.share_embeddings
    assert loaded.predict(sources()) == task.predict(sources())
    for side in ("source", "target"):
        pair = getattr(loaded.tokenizer, side), getattr(task.tokenizer, side)
        assert pair[0].encode("chapeau").tolist() == pair[1].encode("chapeau").tolist()


def test_a_pair_of_ones_own_tokenizers_is_used_as_it_is():
    pair = TokenizerPair(ByteTokenizer(), ByteTokenizer())
    task = make(tokenizer=pair)
    assert task.tokenizer is pair
    assert task.model.config.pad_id == 256


def test_one_tokenizer_object_serves_both_sides():
    tokenizer = ByteTokenizer()
    task = make(tokenizer=tokenizer)
    assert task.tokenizer.source is task.tokenizer.target is tokenizer
    assert task.model.config.share_embeddings


def test_a_source_over_the_context_is_cut_and_keeps_its_end(translator):
    long = "cat" * 50
    assert translator.predict([long])[0]["score"] == translator.predict([long[:15]])[0]["score"]
    (ids,) = translator._sources([long])
    assert len(ids) == 16
    assert ids[-1] == translator.tokenizer.source.eos_id
    make([("a" * 99, "b")] * 4).fit(steps=1, **FAST)


def test_a_target_over_the_context_is_left_out_and_said_so(translator, capsys):
    task = make([("a", "b" * 15), ("b", "b" * 16), ("c", "b")])
    assert len(task._encoded(task.train_data)) == 2
    assert "1 of 3 pairs left out: the target does not fit max_seq_len=16 tokens" in capsys.readouterr().err
    task.fit(steps=1, **FAST)
    scores = translator.evaluate([("cat", "chat"), ("dog", "chien" * 99)])
    assert (scores["count"], scores["exact_match"]) == (2, 0.5), "a target that cannot be written counts as wrong"


@pytest.mark.parametrize("text", ["", " ", "日本", "<bos>"])
def test_any_text_is_a_source(translator, text):
    assert isinstance(translator.translate([text])[0], str)


def test_pairs_that_share_a_source_or_a_target_are_on_one_side_of_the_split():
    pairs = [(f"{source}{mark}", target) for source, target in TWENTY for mark in ("", "!", ".")]
    pairs += [(source * 2, f"{target.upper()}…") for source, target in TWENTY]
    task = make(pairs, valid_fraction=0.3)
    assert task.valid_data
    for side in (0, 1):
        seen, held_out = (
            {pair[side].casefold().strip("!.…") for pair in part} for part in (task.train_data, task.valid_data)
        )
        assert not seen & held_out


def test_real_data_has_scores_of_translation_and_toys_have_not():
    pytest.importorskip("sacrebleu")
    assert {"bleu", "chrf"} <= set(make().evaluate(TWENTY[:3]))
    toy = make("toy:reverse", toy_examples=50)
    assert set(toy.evaluate(max_examples=5)) == {"loss", "exact_match", "count"}


def test_toys_have_characters_and_held_out_examples_of_their_own():
    task = make("toy:addition", toy_examples=200)
    assert len(task.train_data) == 200
    assert not {source for source, _ in task.train_data} & {source for source, _ in task.valid_data}
    assert isinstance(task.tokenizer.source, CharacterTokenizer)
    assert all(str(sum(map(int, source.split("+")))) == target for source, target in task.valid_data)


def test_evaluation_has_the_figures_one_would_count_by_hand(translator):
    data = [("cat", "chat"), ("dog", "chat"), ("sea", "mer"), ("one", "Un")]
    scores = translator.evaluate(data, num_beams=1)
    assert scores["exact_match"] == 0.5
    tokens, total, count = translator.tokenizer.target, 0.0, 0
    for source, target in data:
        src = [[*translator.tokenizer.source.encode(source).tolist(), tokens.eos_id]]
        ids = [tokens.bos_id, *tokens.encode(target).tolist(), tokens.eos_id]
        logits = translator.model.eval()(np.array(src), np.array([ids[:-1]])).data[0].astype(np.float64)
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        total, count = total - log_p[np.arange(len(ids) - 1), ids[1:]].sum(), count + len(ids) - 1
    assert scores["loss"] == pytest.approx(total / count, rel=1e-4)
    assert translator.evaluate(data, max_examples=2)["count"] == 2


def test_a_trained_model_goes_on_with_other_pairs(translator, tmp_path):
    translator.save(tmp_path)
    task = Translator.from_data([("cat", "katze")] * 4, pretrained=tmp_path, valid_fraction=0.0)
    assert task.translate(["dog"]) == ["chien"]
    task.fit(steps=1, **FAST)
    assert isinstance(load_tokenizer(tmp_path), CharacterTokenizer)


def test_a_summariser_learns_and_is_scored_by_rouge(tmp_path):
    pytest.importorskip("rouge_score")
    rows = [json.dumps({"document": f"{source} {source}", "summary": target}) for source, target in TWENTY[:8]]
    (tmp_path / "news.jsonl").write_text("\n".join(rows))
    task = make(tmp_path / "news.jsonl", Summariser)
    task.fit(steps=120, **FAST)
    assert task.summarise(["cat cat", "sun sun"]) == ["chat", "soleil"]
    scores = task.evaluate(tmp_path / "news.jsonl")
    assert scores["exact_match"] == 1.0
    assert {name for name in scores if name.startswith("rouge")} >= {"rouge1", "rouge2", "rougeL"}
    assert "bleu" not in scores


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda task: make([("a", "b" * 99)] * 3).fit(steps=1), "every target is longer than max_seq_len=16"),
        (lambda task: task.predict(["cat"], num_beams=0), "num_beams must be at least 1"),
        (lambda task: task.predict(["cat"], num_beams=2, num_return=3), "num_return must be from 1 to num_beams=2"),
        (
            lambda task: task.predict(["cat"], max_new_tokens=0),
            "max_new_tokens must be a whole number of at least 1, got 0",
        ),
        (
            lambda task: task.predict(["cat"], max_new_tokens=-1),
            "max_new_tokens must be a whole number of at least 1, got -1",
        ),
        (lambda task: task.translate("cat"), "a list of texts"),
        (lambda task: task.evaluate(TWENTY, max_examples=0), "max_examples must be at least 1, got 0"),
        (lambda task: task.evaluate(TWENTY, max_examples=-1), "max_examples must be at least 1, got -1"),
        (lambda task: task.evaluate(TWENTY, num_beams=0), "num_beams must be at least 1, got 0"),
        (lambda task: make([("a", "b", "c")]), r"example 0 is \('a', 'b', 'c'\), expected a pair of texts"),
        (lambda task: make("toy:nothing"), "no toy task 'nothing'"),
        (lambda task: make(tokenizer=CharacterTokenizer("abc")), "needs a tokenizer with a pad_id"),
        (lambda task: make([("a", "b")] * 9, valid_fraction=0.5), "at least 2 groups"),
        (lambda task: make([]), "at least one example, got none"),
    ],
)
def test_wrong_input_is_refused_in_a_sentence(translator, attempt, message):
    with pytest.raises(InputError, match=message) as caught:
        attempt(translator)
    assert "\n" not in str(caught.value)


class WithoutBegin(CharacterTokenizer):
    """Ends texts, but has no token to begin them with."""

    @property
    def bos_id(self):
        return None

    @bos_id.setter
    def bos_id(self, value):
        pass


def test_a_tokenizer_that_cannot_begin_a_target_is_refused_before_a_run_is_replaced(tmp_path):
    make().fit(steps=1, out=tmp_path / "run", **FAST)
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    task = make(tokenizer=WithoutBegin("".join(sorted(set("".join(map("".join, TWENTY))))), special_tokens=True))
    with pytest.raises(InputError, match="needs a tokenizer with a bos_id"):
        task.fit(steps=1, out=tmp_path / "run", overwrite=True, **FAST)
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before


def test_evaluation_is_not_bound_by_the_batches_of_training(translator, monkeypatch):
    monkeypatch.setattr(Translator, "train_config", TrainConfig(batch_tokens=3))
    assert translator.evaluate(TWENTY)["count"] == 20


def test_spaces_at_the_ends_of_a_reference_do_not_count(translator):
    assert translator.evaluate([(source, f" {target} ") for source, target in TWENTY])["exact_match"] == 1.0


def test_a_measure_on_some_pairs_takes_them_from_the_whole(translator, monkeypatch):
    seen = []
    monkeypatch.setattr(
        translator, "predict", lambda texts, **_: seen.extend(texts) or [{"target": "", "score": 0.0}] * 4
    )
    translator.evaluate(TWENTY, max_examples=4)
    assert seen == sources()[::5]


def test_bytes_that_are_no_text_are_shown_as_such():
    task = make(TWENTY[:2], tokenizer="bytes")
    ids = [int(i) for i in ByteTokenizer().encode("é")]
    found = task._targets([Hypothesis(ids, -0.5, -1.0), Hypothesis(ids[:1], -0.7, -1.0), Hypothesis([], -1.0, -1.0)])
    assert found == [{"target": "é", "score": -0.5}, {"target": "\ufffd", "score": -0.7}, {"target": "", "score": -1.0}]


def test_hypotheses_with_the_same_text_are_one_target_with_the_best_score():
    task = make(TWENTY[:2], tokenizer="bytes")
    a, space, b = (ByteTokenizer().encode(text).tolist() for text in ("a", " ", "b"))
    found = task._targets([Hypothesis(a, -0.1, -1.0), Hypothesis([*a, *space], -0.2, -1.0), Hypothesis(b, -0.3, -1.0)])
    assert found == [{"target": "a", "score": -0.1}, {"target": "b", "score": -0.3}]


def test_as_many_different_targets_come_as_were_asked_for_while_the_beam_has_them(translator, monkeypatch):
    """Half of the letters are written as spaces, so that many hypotheses have the same text."""
    decode = translator.tokenizer.target.decode
    monkeypatch.setattr(
        translator.tokenizer.target, "decode", lambda ids: "".join(c if c < "m" else " " for c in decode(ids)).strip()
    )
    (found,) = translator.predict(["cat"], num_beams=8, num_return=3)
    texts = [found["target"], *(other["target"] for other in found["alternatives"])]
    assert len(texts) == len(set(texts)) == 3


@pytest.mark.parametrize("blank", ["", " ", "\t\n", "\u3000"])
def test_a_blank_source_has_a_blank_target_without_asking_the_model(translator, blank, monkeypatch):
    (expected,) = translator.predict(["cat"], num_beams=4)
    found = translator.predict([blank, "cat", blank], num_beams=4, num_return=2)
    assert found[0] == found[2] == {"source": blank, "target": "", "score": 0.0, "alternatives": []}
    assert found[1]["target"] == expected["target"]
    monkeypatch.setattr("numformer.tasks.translation.search.beam_search", None)
    assert translator.predict([blank]) == [{"source": blank, "target": "", "score": 0.0}]
    assert translator.translate([blank, blank]) == ["", ""]


@pytest.mark.parametrize("separate", [False, True])
def test_the_tokenizers_of_a_folder_are_taken_for_both_sides(separate, tmp_path):
    first = make([("abc", "xyz")], separate_vocabularies=True)
    first.save(tmp_path)
    second = make([("abc", "xyz")], tokenizer=tmp_path, separate_vocabularies=separate)
    for side in ("source", "target"):
        assert getattr(second.tokenizer, side).to_json() == getattr(first.tokenizer, side).to_json()


def test_a_vocabulary_may_be_larger_than_the_tokenizer_and_not_smaller():
    assert make(src_vocab_size=99, tgt_vocab_size=99).model.config.src_vocab_size == 99
    with pytest.raises(InputError, match=r"src_vocab_size=9 is below the \d+ tokens of the tokenizer"):
        make(src_vocab_size=9, tgt_vocab_size=9)


def test_a_toy_needs_examples():
    with pytest.raises(InputError, match="toy_examples must be at least 1, got 0"):
        Translator.from_data("toy:reverse", toy_examples=0)


def test_an_unknown_setting_of_the_search_is_refused(translator):
    with pytest.raises(InputError, match=r"unknown setting beams; known are bad_words, .*; did you mean num_beams"):
        translator.predict(["cat"], beams=3)
