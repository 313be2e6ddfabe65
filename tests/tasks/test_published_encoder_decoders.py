"""Translation from a folder of T5 or BART: the first token that the config says, and the tokens around texts."""

import numpy as np
import pytest

from numformer import CharacterTokenizer, Translator, load
from numformer.models import BartConfig, T5Config, build_model
from numformer.pretrained import save_model
from numformer.training import TrainConfig

PAIRS = [("ab", "ba"), ("abc", "cba"), ("ca", "ac"), ("b", "b")]
TOKENIZER = CharacterTokenizer.from_text("abc", special_tokens=True)
SIZES = {
    "vocab_size": TOKENIZER.vocab_size,
    "d_model": 16,
    "num_heads": 2,
    "d_ff": 32,
    "max_seq_len": 12,
    "dropout": 0.0,
}
SIZES |= {"num_encoder_layers": 1, "num_decoder_layers": 1, "pad_id": TOKENIZER.pad_id}
CONFIGS = {
    "t5": T5Config(**SIZES, head_dim=8, start_id=TOKENIZER.pad_id),
    "bart": BartConfig(**SIZES, start_id=TOKENIZER.eos_id),
}
every_kind = pytest.mark.parametrize("kind", CONFIGS)


@pytest.fixture
def translator(kind, tmp_path):
    save_model(build_model(CONFIGS[kind], "seq2seq", seed=1), tmp_path)
    TOKENIZER.save(tmp_path)
    return Translator.from_data(PAIRS, valid=PAIRS, pretrained=str(tmp_path))


@every_kind
def test_targets_begin_with_the_token_of_the_config_and_texts_of_bart_with_the_begin_token(kind, translator):
    objective = translator.objective(TrainConfig(batch_size=1))
    src, seen, target = objective.collate(objective.examples[:1])
    (a, b), bos, eos = TOKENIZER.encode("ab"), TOKENIZER.bos_id, TOKENIZER.eos_id
    frame = [bos] if kind == "bart" else []
    assert src.tolist() == [[*frame, a, b, eos]]
    assert seen.tolist() == [[CONFIGS[kind].start_id, *frame, b, a]]
    assert target.tolist() == [[*frame, b, a, eos]]


@every_kind
def test_what_it_learns_it_translates_also_when_it_is_loaded_again(kind, translator, tmp_path):
    translator.fit(steps=150, batch_size=4, lr=1e-2, label_smoothing=0.0)
    sources, targets = map(list, zip(*PAIRS, strict=True))
    assert translator.translate(sources) == targets
    translator.save(tmp_path / "saved")
    again = load(tmp_path / "saved")
    assert again.translate(sources) == targets
    assert type(again.model) is type(translator.model)


@every_kind
def test_a_source_over_the_context_is_cut_to_it_with_all_that_stands_around_it(kind, translator, capsys):
    (source,) = translator._sources(["abc" * 9])
    assert len(source) == 12
    assert source[-1] == TOKENIZER.eos_id
    assert "1 source cut to max_seq_len=12 tokens" in capsys.readouterr().err


@every_kind
def test_its_attention_has_a_label_for_every_token(kind, translator):
    for each in translator.attention("abc", "cb"):
        assert each.weights.shape[1:] == (len(each.queries), len(each.keys))
        np.testing.assert_allclose(each.weights.sum(axis=-1), 1.0, rtol=1e-5)
