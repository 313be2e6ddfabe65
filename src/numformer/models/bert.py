"""BERT: the bidirectional encoder of Devlin et al. 2019 (arXiv:1810.04805)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from numformer import ops, random
from numformer._names import takes_synonyms
from numformer.autograd import Array, ArrayLike, Parameter, Tensor
from numformer.models.backbone import Backbone, place
from numformer.models.config import ArchitectureConfig
from numformer.models.layouts import Layout
from numformer.models.registry import register
from numformer.nn import init
from numformer.nn.attention import MultiHeadAttention
from numformer.nn.dropout import Dropout
from numformer.nn.feed_forward import FeedForward
from numformer.nn.layers import Embedding, LayerNorm, Linear
from numformer.nn.module import Module
from numformer.nn.stack import Stack
from numformer.nn.transformer import Layer, Residual, reseed_dropout

STD = 0.02  # of the embeddings at the start; other weights follow Glorot's rule, which suits narrow models too


@takes_synonyms
@dataclass(frozen=True, kw_only=True)
class BertConfig(ArchitectureConfig):
    """A bidirectional encoder with the layout of BERT (Devlin et al. 2019)."""

    layer_norm_eps: float = 1e-5
    """Added to the variance in every LayerNorm."""
    vocab_size: int = 0
    """Number of distinct tokens; 0 takes it from the tokenizer."""
    num_layers: int = 2
    """Number of layers."""
    max_seq_len: int = 128
    """Context length: the most tokens that the model sees at once."""
    dropout: float = 0.1
    """Share of elements dropped while training, after the embedding, in the attention and on both residual branches."""
    activation: str = "gelu"
    """One of gelu_tanh, gelu, relu, silu."""
    pad_id: int = 0
    """The token that fills a batch up."""

    model_type: ClassVar[str] = "bert"
    names_on_disk: ClassVar[dict[str, str]] = {
        "vocab_size": "vocab_size",
        "d_model": "hidden_size",
        "num_heads": "num_attention_heads",
        "num_layers": "num_hidden_layers",
        "d_ff": "intermediate_size",
        "max_seq_len": "max_position_embeddings",
        "dropout": "hidden_dropout_prob",
        "activation": "hidden_act",
        "layer_norm_eps": "layer_norm_eps",
        "pad_id": "pad_token_id",
    }
    needed_on_disk: ClassVar[tuple[str, ...]] = (
        *("vocab_size", "hidden_size", "num_attention_heads", "num_hidden_layers"),
        *("intermediate_size", "max_position_embeddings"),
    )
    fixed_on_disk: ClassVar[dict[str, Any]] = {"type_vocab_size": 2, "position_embedding_type": "absolute"}

    def to_disk(self) -> dict[str, Any]:
        """Return the keys of a Hugging Face config.json."""
        return super().to_disk() | {"attention_probs_dropout_prob": self.dropout, "intermediate_size": self.ff_width}


LAYOUT = Layout(
    prefix="bert.",
    backbone="""
        embeddings.token_embedding     embeddings.word_embeddings
        embeddings.position_embedding  embeddings.position_embeddings
        embeddings.segment_embedding   embeddings.token_type_embeddings
        embeddings.norm                embeddings.LayerNorm
        layers.*.self_attn.q_proj      encoder.layer.*.attention.self.query
        layers.*.self_attn.k_proj      encoder.layer.*.attention.self.key
        layers.*.self_attn.v_proj      encoder.layer.*.attention.self.value
        layers.*.self_attn.out_proj    encoder.layer.*.attention.output.dense
        layers.*.residual1.norm        encoder.layer.*.attention.output.LayerNorm
        layers.*.feed_forward.linear1  encoder.layer.*.intermediate.dense
        layers.*.feed_forward.linear2  encoder.layer.*.output.dense
        layers.*.residual2.norm        encoder.layer.*.output.LayerNorm
        pooler                         pooler.dense
    """,
    heads={
        "mlm": """
            head.dense  cls.predictions.transform.dense
            head.norm   cls.predictions.transform.LayerNorm
            head.bias   cls.predictions.bias
        """,
        "classify": "head classifier",
        "tag": "head classifier",
        "qa": "head qa_outputs",
    },
    ignored=("embeddings.position_ids", "cls.predictions.decoder"),
    left_out=("pooler", "cls.seq_relationship"),
)


@register(BertConfig, LAYOUT, class_prefix="Bert", is_default=True)
class Bert(Backbone):
    """Encode tokens looking both ways, tokens [B T] (or features [B T C], which are summed) -> [B T D]."""

    looks_ahead = True
    takes_segments = True

    def __init__(self, config: BertConfig, *, seed: int = 0, pooler: bool = False) -> None:
        config.check_vocabulary()
        self.config = config
        with init.undrawn():
            self.embeddings = Embeddings(config)
            self.layers = Stack(BertLayer(config) for _ in range(config.num_layers))
            self.pooler = Linear(config.d_model, config.d_model) if pooler else None
        init_weights(self, seed)
        reseed_dropout(self, seed)

    def forward(self, tokens: ArrayLike, mask: ArrayLike | None = None, segments: ArrayLike | None = None) -> Tensor:
        """Encode; `mask` [B T] is False at padding, `segments` [B T] tells a first text (0) from a second (1).

        Raises InputError when T is over the context length.
        """
        ids = ops.as_ids(tokens, features=True)
        _, mask = place(ids, mask, None, self.config.max_seq_len)
        return self.layers(self.embeddings(ids, segments), mask=mask)

    encode = forward
    if TYPE_CHECKING:
        __call__ = forward

    @property
    def token_table(self) -> Parameter:
        """The embedding of the tokens [V D], which a head that predicts tokens shares."""
        return self.embeddings.token_embedding.weight

    def prepare_for_head(self, *, summarises: bool, seed: int) -> None:
        """Drop the pooler, which would be saved and not be known when loaded, or make one where a summary is wanted."""
        if not summarises:
            self.pooler = None
        elif self.pooler is None:
            self.pooler = Linear(self.config.d_model, self.config.d_model, generator=random.generator(seed, 2))

    def summary(self, x: Tensor, mask: Array | None) -> Tensor:
        """Return the first token's vector, passed through the pooler, x [B T D] -> [B D]."""
        assert self.pooler is not None, "prepare_for_head makes it"
        return ops.tanh(self.pooler(x[:, 0]))


class Embeddings(Module):
    """Token, position and segment embeddings, summed and normalised."""

    def __init__(self, config: BertConfig) -> None:
        self.pad_id = config.pad_id
        self.token_embedding = Embedding(config.vocab_size, config.d_model)
        self.position_embedding = Embedding(config.max_seq_len, config.d_model)
        self.segment_embedding = Embedding(2, config.d_model)
        self.norm = LayerNorm(config.d_model, config.layer_norm_eps)
        self.dropout = Dropout(config.dropout)

    def forward(self, tokens: Array, segments: ArrayLike | None = None) -> Tensor:
        """Return a vector for every token, tokens [B T] or features [B T C] -> [B T D]; all are of segment 0 by default."""
        if tokens.ndim == 3:
            x = ops.embedding_bag(tokens, self.token_embedding.weight, padding_id=self.pad_id)
        else:
            x = self.token_embedding(tokens)
        kinds = self.segment_embedding
        x = x + self.position_embedding.weight[: tokens.shape[1]]
        return self.dropout(self.norm(x + (kinds.weight[0] if segments is None else kinds(ops.as_ids(segments)))))


class BertLayer(Layer):
    """Post-norm attention and feed-forward, with no dropout inside the latter, x [B T D] -> [B T D]."""

    def __init__(self, config: BertConfig) -> None:
        D, eps = config.d_model, config.layer_norm_eps
        self.self_attn = MultiHeadAttention(D, config.num_heads, config.dropout)
        self.residual1 = Residual(LayerNorm(D, eps), config.dropout, pre_norm=False)
        self.feed_forward = FeedForward(D, config.ff_width, dropout=None, activation=config.activation)
        self.residual2 = Residual(LayerNorm(D, eps), config.dropout, pre_norm=False)


def init_weights(model: Bert, seed: int) -> None:
    """Draw the embeddings from N(0, 0.02²) and the other weights by Glorot's rule."""
    generator = random.generator(seed)
    for name, parameter in model.named_parameters():
        if name.endswith("embedding.weight"):
            init.draw_normal(parameter, STD, generator)
        elif parameter.ndim == 2:
            init.draw_xavier(parameter, generator)
