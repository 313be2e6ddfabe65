"""Write the golden files of T5 and BART, as transformers has them, one file per architecture.

Run: python tests/golden/make_golden_encoder_decoders.py     (any Python with torch, transformers and numformer itself)

`<case>.greedy` are the ids by which transformers, with its cache, writes from each source up to the end of the context, and
`<case>.beams` the best two of three beams, both with the token that they begin with; no token ends them. All else is as in
make_golden_architectures.py.
"""

import math
import tempfile
from collections.abc import Iterator

import numpy as np
import torch
import transformers
from make_golden import Arrays, float32, save
from make_golden_architectures import make_exact, saved
from make_golden_encoders import record
from make_golden_models import PAD, compact, gradients, padded, randomise
from torch import nn
from transformers.models.t5 import modeling_t5

from numformer.models import build_model
from numformer.models.registry import ARCHITECTURES
from numformer.pretrained import save_model

CONTEXT, VOCABULARY, BEAMS = 16, 17, 3
GENERAL = {"vocab_size": VOCABULARY, "pad_token_id": PAD, "bos_token_id": None, "eos_token_id": None}
T5 = GENERAL | {"d_model": 8, "num_heads": 2, "d_kv": 3, "num_layers": 2, "d_ff": 12, "dropout_rate": 0.0}
T5 |= {"relative_attention_num_buckets": 8, "relative_attention_max_distance": 12, "decoder_start_token_id": PAD}
T5 |= {"n_positions": CONTEXT}
BART = GENERAL | {"d_model": 8, "encoder_layers": 2, "decoder_layers": 2, "max_position_embeddings": CONTEXT}
BART |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 12, "decoder_ffn_dim": 12}
BART |= {"dropout": 0.0, "decoder_start_token_id": 2, "forced_eos_token_id": None}
CASES: dict[str, dict[str, dict]] = {  # of each model_type
    "t5": {
        "plain": T5,
        "gated": T5 | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "num_decoder_layers": 1},
        "silu": T5 | {"feed_forward_proj": "gated-silu", "decoder_start_token_id": 3, "num_heads": 3},
    },
    "bart": {
        "plain": BART,
        "scaled": BART | {"scale_embedding": True, "activation_function": "relu", "decoder_layers": 1},
        "started": BART | {"decoder_start_token_id": 5, "encoder_layers": 1, "activation_function": "gelu_new"},
    },
}


class RMSNorm(nn.RMSNorm):
    """T5's norm, which transformers computes in float32 whatever it is given."""

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__(dim, eps)


def make_model(model_type: str, keys: dict) -> nn.Module:
    config = transformers.AutoConfig.for_model(model_type, **keys)
    config._attn_implementation = "eager"
    make_exact(config)
    modeling_t5.T5LayerNorm = RMSNorm
    model = getattr(transformers, ARCHITECTURES[model_type].class_on_disk)(config)
    if keys.get("tie_word_embeddings") is False:
        model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach().clone())
    return model


def write(model: nn.Module, src: np.ndarray, count: int, **settings: int) -> np.ndarray:
    """The ids that are written from every source, up to the end of the context."""
    written = [
        model.generate(torch.tensor(row[None, row != PAD]), do_sample=False, max_length=CONTEXT, **settings)
        for row in src
    ]
    return torch.stack(written).numpy().reshape(len(src), count, CONTEXT)


def make_architecture(model_type: str) -> None:
    rng = np.random.default_rng(18)
    src, tgt = padded(rng, [CONTEXT, 7, 9], VOCABULARY), padded(rng, [6, 13, 9], VOCABULARY)
    src_mask, tgt_mask = ((ids != PAD).astype(np.int64) for ids in (src, tgt))
    arrays: Arrays = {"src": src, "tgt": tgt}
    config: dict[str, dict] = {}
    for case, keys in CASES[model_type].items():
        model = randomise(make_model(model_type, keys), rng).eval()
        for buffer in model.buffers():
            if buffer.shape == (1, VOCABULARY):  # the bias of BART's logits, which is no parameter
                buffer.copy_(torch.tensor(float32(rng.normal(size=buffer.shape))))
        written, weights = saved(model)
        logits = model(
            input_ids=torch.tensor(src), attention_mask=torch.tensor(src_mask), decoder_input_ids=torch.tensor(tgt)
        ).logits
        dlogits = float32(rng.normal(size=tuple(logits.shape))) * tgt_mask[..., None]  # padding gets no gradient
        logits.backward(torch.tensor(dlogits))
        arrays |= {f"{case}.weight.{name}": value for name, value in weights.items()}
        arrays |= {f"{case}.logits": logits.detach().numpy(), f"{case}.dlogits": dlogits}
        arrays[f"{case}.grad"] = gradients(model)
        arrays[f"{case}.greedy"] = write(model, src, 1)[:, 0]
        arrays[f"{case}.beams"] = write(model, src, 2, num_beams=BEAMS, num_return_sequences=2)
        config[case] = {"keys": written, "differentiated": sorted(name for name, _ in model.named_parameters())}
    save(model_type, compact(arrays), config)


def check_transformers_reads_ours(model_type: str) -> Iterator[float]:
    """Yield how far apart the logits are of models that numformer saved and transformers loaded, as shares of the largest."""
    rng = np.random.default_rng(19)
    src, tgt = padded(rng, [CONTEXT, 7, 9], VOCABULARY), padded(rng, [6, 13, 9], VOCABULARY)
    for case, keys in CASES[model_type].items():
        written, _ = saved(make_model(model_type, keys))
        model = build_model(ARCHITECTURES[model_type].config.from_disk(written), "seq2seq")
        for _, tensor in model.named_state():
            tensor.data[...] = rng.normal(size=tensor.shape) / math.sqrt(tensor.shape[-1])
        with tempfile.TemporaryDirectory() as folder:
            save_model(model.eval(), folder)
            kind = getattr(transformers, ARCHITECTURES[model_type].class_on_disk)
            theirs, report = kind.from_pretrained(folder, output_loading_info=True, attn_implementation="eager")
        assert not any(report.values()), f"{model_type} {case}: {report}"
        for source, target in zip(src, tgt, strict=True):
            pair = [row[row != PAD][None] for row in (source, target)]
            with torch.no_grad():
                source, target = (torch.tensor(ids) for ids in pair)
                expected = theirs.eval()(input_ids=source, decoder_input_ids=target).logits.numpy()
            yield float(abs(model(*pair).data - expected).max() / abs(expected).max())


if __name__ == "__main__":
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    for each in CASES:
        make_architecture(each)
    record("Encoder-decoders read likewise", {each: list(check_transformers_reads_ours(each)) for each in CASES})
