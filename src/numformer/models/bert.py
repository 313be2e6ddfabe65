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
    num_segments: int = 2
    """Number of segments, such as that of a question and that of its context; with one all tokens are of it."""

    model_type: ClassVar[str] = "bert"
    lengths: ClassVar[tuple[str, ...]] = (*ArchitectureConfig.lengths, "num_segments")
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
        "num_segments": "type_vocab_size",
    }
    absent_on_disk: ClassVar[dict[str, Any]] = {"layer_norm_eps": 1e-12}
    needed_on_disk: ClassVar[tuple[str, ...]] = (
        *("vocab_size", "hidden_size", "num_attention_heads", "num_hidden_layers"),
        *("intermediate_size", "max_position_embeddings"),
    )
    fixed_on_disk: ClassVar[dict[str, Any]] = {"position_embedding_type": "absolute"}

    @property
    def head_activation(self) -> str:
        """The activation in the head that predicts tokens."""
        return self.activation

    def to_disk(self) -> dict[str, Any]:
        """Return the keys of a Hugging Face config.json."""
        return super().to_disk() | {"attention_probs_dropout_prob": self.dropout, "intermediate_size": self.ff_width}


NAMES = """
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
"""
LAYOUT = Layout(
    prefix="bert.",
    backbone=NAMES + "pooler pooler.dense",
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
    left_out=("pooler", "cls"),
)


@register(BertConfig, LAYOUT, class_prefix="Bert", is_default=True)
class Bert(Backbone):
    """Encode tokens looking both ways, tokens [B T] (or features [B T C], which are summed) -> [B T D].

    `config` is a BertConfig; an encoder that differs in details has a config of its own with these fields.
    """

    looks_ahead = True

    def __init__(self, config: Any, *, seed: int = 0, pooler: bool = False) -> None:
        config.check_vocabulary()
        self.config = config
        self.takes_segments = config.num_segments > 1
        with init.undrawn():
            self.embeddings = self.make_embeddings()
            self.layers = Stack(BertLayer(config) for _ in range(config.num_layers))
            self.pooler = Linear(config.d_model, config.d_model) if pooler else None
        init_weights(self, seed)
        reseed_dropout(self, seed)

    def make_embeddings(self) -> Embeddings:
        """Return what turns tokens into vectors."""
        return Embeddings(self.config)

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
    """Token, position and segment embeddings, summed and normalised.

    `first_position` is the row of the table of positions at which a text begins. With num_segments=0 there are no segments.
    """

    def __init__(self, config: Any, *, first_position: int = 0) -> None:
        D, num_segments = config.d_model, config.num_segments
        self.pad_id, self.first_position = config.pad_id, first_position
        self.token_embedding = Embedding(config.vocab_size, D)
        self.position_embedding = Embedding(first_position + config.max_seq_len, D)
        self.segment_embedding = Embedding(num_segments, D) if num_segments else None
        self.norm = LayerNorm(D, config.layer_norm_eps)
        self.dropout = Dropout(config.dropout)

    def forward(self, tokens: Array, segments: ArrayLike | None = None) -> Tensor:
        """Return a vector for every token, tokens [B T] or features [B T C] -> [B T D]; all are of segment 0 by default."""
        if tokens.ndim == 3:
            x = ops.embedding_bag(tokens, self.token_embedding.weight, padding_id=self.pad_id)
        else:
            x = self.token_embedding(tokens)
        x = ops.add(x, self.positions(tokens))
        if self.segment_embedding is not None:
            kinds = self.segment_embedding
            x = ops.add(x, kinds.weight[0] if segments is None else kinds(ops.as_ids(segments)))
        return self.dropout(self.norm(x))

    def positions(self, tokens: Array) -> Tensor:
        """Return the vectors of the positions of tokens [B T] or [B T C], -> [T D] or [B T D]."""
        return self.position_embedding.weight[self.first_position : self.first_position + tokens.shape[1]]


class BertLayer(Layer):
    """Post-norm attention and feed-forward, with no dropout inside the latter, x [B T D] -> [B T D]."""

    def __init__(self, config: Any) -> None:
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
