"""Write the golden files of whole models: the encoder-decoder as PyTorch has it, BERT and the heads as transformers does.

Run: python tests/golden/make_golden_models.py     (any Python with torch, transformers and numformer itself)

transformer.safetensors  torch.nn.Transformer, pre- and post-norm, relu and gelu, with padding; and whole models around it
bert.safetensors         BERT with each head that transformers has for it, one backbone for all
gpt2_heads.safetensors   GPT-2 as a classifier of texts and of tokens, one backbone for both
llama.safetensors        Llama and its heads, one backbone for all but the one for questions, which has names of its own

All are computed in float64 from O(1) weights that float32 can hold. Then a folder that numformer saved is loaded by
transformers, and must give the same numbers there.
"""

import math
import tempfile

import numpy as np
import torch
import transformers
from make_golden import Arrays, float32, save, saved_weights
from torch import nn
from torch.nn import functional as F  # noqa: N812
from transformers.models.llama import modeling_llama

from numformer.models import BertConfig, GPTConfig, LlamaConfig, build_model
from numformer.models.disk import to_disk
from numformer.pretrained import save_model

PAD = 0


def randomise(model: nn.Module, rng: np.random.Generator) -> nn.Module:
    """Give a model weights of order 1 that float32 can hold, in float64."""
    model.double()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            shape = tuple(weight.shape)
            if len(shape) == 1 and name.endswith("weight"):  # of a LayerNorm
                value = rng.uniform(0.5, 1.5, shape) * rng.choice([-1, 1], shape)
            elif len(shape) == 1:
                value = 0.5 * rng.normal(size=shape)
            else:
                value = 1.5 * rng.normal(size=shape) / math.sqrt(shape[-1])
            weight.copy_(torch.tensor(float32(value)))
    return model


def gradients(model: nn.Module) -> np.ndarray:
    """The gradients of all parameters laid end to end, in the alphabetical order of their names."""
    named = sorted(model.named_parameters())
    return np.concatenate([weight.grad.numpy().ravel() for _, weight in named])


def compact(arrays: Arrays) -> Arrays:
    """Keep real numbers as float32 and whole ones in two bytes."""
    small = {"f": np.float32, "i": np.int16}
    return {name: np.asarray(array).astype(small[np.asarray(array).dtype.kind]) for name, array in arrays.items()}


def padded(rng: np.random.Generator, lengths: list[int], vocab_size: int) -> np.ndarray:
    """Token ids in rows of these lengths, filled up with padding."""
    ids = rng.integers(1, vocab_size, (len(lengths), max(lengths)))
    ids[np.arange(max(lengths)) >= np.array(lengths)[:, None]] = PAD
    return ids


# ---- the encoder-decoder ---------------------------------------------------------------------------------------------

SIZES = {"d_model": 8, "num_heads": 2, "num_encoder_layers": 2, "num_decoder_layers": 2, "d_ff": 12, "max_seq_len": 7}
SHARED = {"src_vocab_size": 13, "tgt_vocab_size": 13, "positions": "sinusoidal"}  # as published
SEPARATE = {"src_vocab_size": 13, "tgt_vocab_size": 11, "positions": "learned"}
SHARED |= {"share_embeddings": True, "tie_output": True}
SEPARATE |= {"share_embeddings": False, "tie_output": False}


def make_stacks(pre_norm: bool, activation: str) -> nn.Transformer:
    """nn.Transformer always ends its stacks in a LayerNorm; after post-norm layers there is one already."""
    settings = {"d_model": SIZES["d_model"], "nhead": SIZES["num_heads"], "dim_feedforward": SIZES["d_ff"]}
    settings |= {"dropout": 0.0, "activation": activation, "batch_first": True, "norm_first": pre_norm}

    def norm() -> nn.Module | None:
        return nn.LayerNorm(SIZES["d_model"]) if pre_norm else None

    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(**settings), 2, norm(), enable_nested_tensor=False)
    decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(**settings), 2, norm())
    return nn.Transformer(**settings, custom_encoder=encoder, custom_decoder=decoder)


def run_stacks(stacks: nn.Transformer, x, y, src_real, tgt_real):
    return stacks(
        x,
        y,
        tgt_mask=torch.ones(y.shape[1], y.shape[1]).triu(1).bool(),
        src_key_padding_mask=~src_real,
        tgt_key_padding_mask=~tgt_real,
        memory_key_padding_mask=~src_real,
    )


class Whole(nn.Module):
    """Embeddings, positions and an output layer around the stacks."""

    def __init__(self, stacks: nn.Transformer, config: dict) -> None:
        super().__init__()
        D, longest = config["d_model"], config["max_seq_len"]
        self.stacks, self.config = stacks, config
        self.src_embedding = nn.Embedding(config["src_vocab_size"], D)
        if not config["share_embeddings"]:
            self.tgt_embedding = nn.Embedding(config["tgt_vocab_size"], D)
            self.output = nn.Linear(D, config["tgt_vocab_size"])
        if config["positions"] == "learned":
            self.src_positions, self.tgt_positions = nn.Embedding(longest, D), nn.Embedding(longest, D)

    def embed(self, ids, side: str):
        table = self.src_embedding if self.config["share_embeddings"] else getattr(self, f"{side}_embedding")
        D, T = self.config["d_model"], ids.shape[1]
        if self.config["positions"] == "learned":
            return table(ids) * math.sqrt(D) + getattr(self, f"{side}_positions").weight[:T]
        wave = torch.arange(T).double()[:, None] / 10000 ** (torch.arange(0, D, 2).double() / D)
        return table(ids) * math.sqrt(D) + torch.stack([wave.sin(), wave.cos()], -1).reshape(T, D)

    def forward(self, src, tgt):
        x, y = self.embed(src, "src"), self.embed(tgt, "tgt")
        out = run_stacks(self.stacks, x, y, src != PAD, tgt != PAD)
        return F.linear(out, self.src_embedding.weight) if self.config["share_embeddings"] else self.output(out)


def make_transformer() -> None:
    rng = np.random.default_rng(11)
    src, tgt = padded(rng, [6, 4, 2], 13), padded(rng, [5, 3, 4], 11)
    x, y, dout = (float32(rng.normal(size=(3, length, SIZES["d_model"]))) for length in (6, 5, 5))
    arrays: Arrays = {"src": src, "tgt": tgt, "x": x, "y": y, "dout": dout}
    config: dict[str, dict] = {}
    donor = randomise(make_stacks(True, "relu"), rng)
    arrays |= {f"weight.{name}": value.numpy() for name, value in donor.state_dict().items()}
    for pre_norm in (True, False):
        for activation in ("relu", "gelu"):
            stacks = make_stacks(pre_norm, activation).double()
            stacks.load_state_dict({name: donor.state_dict()[name] for name in stacks.state_dict()})
            case = f"{'pre' if pre_norm else 'post'}_{activation}"
            config[case] = {**SIZES, **SHARED, "pre_norm": pre_norm, "activation": activation}
            leaves = [torch.tensor(value).requires_grad_() for value in (x, y)]
            out = run_stacks(stacks, *leaves, torch.tensor(src != PAD), torch.tensor(tgt != PAD))
            out.backward(torch.tensor(dout))
            arrays |= {f"{case}.out": out.detach().numpy(), f"{case}.grad": gradients(stacks)}
            arrays |= {f"{case}.dx": leaves[0].grad.numpy(), f"{case}.dy": leaves[1].grad.numpy()}
    for case, settings in (("shared", config["post_relu"]), ("separate", config["pre_gelu"] | SEPARATE)):
        stacks = make_stacks(settings["pre_norm"], settings["activation"])
        model = randomise(Whole(stacks, settings), rng)
        stacks.load_state_dict({name: donor.state_dict()[name] for name in stacks.state_dict()})
        logits = model(torch.tensor(src), torch.tensor(tgt))
        targets = np.where(tgt == PAD, -100, rng.integers(settings["tgt_vocab_size"], size=tgt.shape))
        loss = F.cross_entropy(logits.flatten(0, 1), torch.tensor(targets).flatten())
        loss.backward()
        outside = {name: value for name, value in model.state_dict().items() if not name.startswith("stacks.")}
        arrays |= {f"{case}.weight.{name}": value.numpy() for name, value in outside.items()}
        arrays |= {f"{case}.targets": targets, f"{case}.logits": logits.detach().numpy(), f"{case}.loss": loss.item()}
        arrays[f"{case}.grad"] = gradients(model)
        config[case] = settings
    save("transformer", compact(arrays), config)


# ---- BERT, GPT-2, Llama and their heads ------------------------------------------------------------------------------

BERT = {"vocab_size": 17, "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 12}
BERT |= {"max_position_embeddings": 9, "hidden_act": "gelu", "layer_norm_eps": 1e-5, "pad_token_id": PAD}
BERT_DROPOUTS = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
GPT2 = {"vocab_size": 17, "n_embd": 8, "n_head": 2, "n_layer": 2, "n_positions": 9, "n_inner": 12}
GPT2 |= {"activation_function": "gelu_new", "layer_norm_epsilon": 1e-5}
GPT2_DROPOUTS = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "classifier_dropout": 0.0}
GPT2_EXTRA = {**GPT2_DROPOUTS, "pad_token_id": PAD, "bos_token_id": None, "eos_token_id": None, "use_cache": False}
LLAMA = {"vocab_size": 17, "hidden_size": 8, "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 2}
LLAMA |= {
    "intermediate_size": 12,
    "max_position_embeddings": 9,
    "head_dim": 6,
    "hidden_act": "silu",
    "rope_theta": 50.0,
}
LLAMA |= {"rms_norm_eps": 1e-5, "tie_word_embeddings": False}
LLAMA_EXTRA = {
    "classifier_dropout": 0.0,
    "pad_token_id": PAD,
    "bos_token_id": None,
    "eos_token_id": None,
    "use_cache": False,
}
FAMILIES = {"Bert": (BERT, BERT_DROPOUTS), "GPT2": (GPT2, GPT2_EXTRA), "Llama": (LLAMA, LLAMA_EXTRA)}
HEADS = ("MaskedLM", "SequenceClassification", "TokenClassification", "QuestionAnswering")


def logits_of(result) -> torch.Tensor:
    """The logits [B T V], [B C], [B T C], or [B 2 T] of the start and the end."""
    return torch.stack([result.start_logits, result.end_logits], 1) if "start_logits" in result else result.logits


def make_hugging_face(family: str, heads: tuple[str, ...]) -> None:
    """One file: the backbone's weights, and for each head its own weights, logits and gradients.

    QuestionAnswering is given two segments where there are any.
    """
    rng = np.random.default_rng(12)
    keys, extra = FAMILIES[family]
    tokens = padded(rng, [7, 4, 6], 17)
    mask, segments = (tokens != PAD).astype(np.int64), (np.arange(7) >= [[3], [2], [5]]).astype(np.int64)
    arrays: Arrays = {"tokens": tokens, "segments": segments}
    config: dict[str, dict] = {"config": keys}
    backbone: Arrays = {}
    for head in heads:
        hf_config = getattr(transformers, f"{family}Config")(
            **keys, **extra, num_labels=2 if head == "QuestionAnswering" else 5
        )
        hf_config._attn_implementation = "sdpa" if family == "Llama" else "eager"  # Llama's eager one rounds to float32
        model = randomise(getattr(transformers, f"{family}For{head}")(hf_config).train(), rng)
        own = dict(model.named_parameters())
        with torch.no_grad():
            for name, value in backbone.items():
                if name in own:
                    own[name].copy_(torch.tensor(value))
        first = {name: value.detach().numpy().copy() for name, value in own.items()}
        backbone |= {
            name: value for name, value in first.items() if name.startswith(("bert.", "transformer.", "model."))
        }
        inputs = {"input_ids": tokens, "attention_mask": mask}
        if head == "QuestionAnswering" and family == "Bert":
            inputs["token_type_ids"] = segments
        logits = logits_of(model(**{name: torch.tensor(value) for name, value in inputs.items()}))
        dlogits = float32(rng.normal(size=tuple(logits.shape)))
        if logits.ndim == 3:  # padding gets no gradient
            dlogits *= mask[:, None] if head == "QuestionAnswering" else mask[..., None]
        logits.backward(torch.tensor(dlogits))
        arrays |= {f"{head}.weight.{name}": value for name, value in first.items() if name not in backbone}
        arrays |= {f"{head}.logits": logits.detach().numpy(), f"{head}.dlogits": dlogits}
        arrays[f"{head}.grad"] = gradients(model)
        config[head] = {"names": sorted(saved_weights(model)), "differentiated": sorted(first)}
    arrays |= {f"weight.{name}": value for name, value in backbone.items()}
    save({"Bert": "bert", "GPT2": "gpt2_heads", "Llama": "llama"}[family], compact(arrays), config)


def check_transformers_reads_ours() -> None:
    """A folder that numformer saved gives the same numbers in transformers."""
    rng = np.random.default_rng(13)
    tokens = padded(rng, [7, 4, 6], 17)
    for config in (BertConfig.from_disk(BERT), GPTConfig.from_disk(GPT2), LlamaConfig.from_disk(LLAMA)):
        for task in ("lm", "mlm", "classification", "tagging", "question_answering"):
            if task == ("lm" if isinstance(config, BertConfig) else "mlm"):
                continue
            settings = {"labels": ["a", "b", "c"]} if task in ("classification", "tagging") else {}
            model = build_model(config, task, **settings, **({"pooling": "first"} if task == "classification" else {}))
            for parameter in model.parameters():
                parameter.data[...] = rng.normal(size=parameter.shape) / math.sqrt(parameter.shape[-1])
            with tempfile.TemporaryDirectory() as folder:
                save_model(model.eval(), folder)
                name = to_disk(model)["architectures"][0]
                theirs, report = getattr(transformers, name).from_pretrained(folder, output_loading_info=True)
            assert not any(report.values()), report
            if settings:
                assert theirs.config.id2label == {0: "a", 1: "b", 2: "c"}
            for row in tokens:  # GPT-2 as a classifier takes no batch unless it knows of padding
                real = row[row != PAD][None]
                with torch.no_grad():
                    logits = logits_of(theirs.eval()(torch.tensor(real)))
                np.testing.assert_allclose(model(real).data, logits.numpy(), rtol=1e-4, atol=1e-5)
            print(f"{name}: transformers reads what numformer saved")


if __name__ == "__main__":
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    make_transformer()
    make_hugging_face("Bert", HEADS)
    make_hugging_face("GPT2", ("SequenceClassification", "TokenClassification", "QuestionAnswering"))
    modeling_llama.LlamaRMSNorm = nn.RMSNorm  # the same, but in float64
    make_hugging_face("Llama", ("CausalLM", *HEADS[1:]))
    check_transformers_reads_ours()
