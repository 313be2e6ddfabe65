"""DistilBERT: BERT with half the layers, taught by it, without segments (Sanh et al. 2019, arXiv:1910.01108)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from numformer import ops
from numformer._names import takes_synonyms
from numformer.autograd import Array, Tensor
from numformer.models.bert import Bert
from numformer.models.config import ArchitectureConfig
from numformer.models.layouts import Layout
from numformer.models.registry import register


@takes_synonyms
@dataclass(frozen=True, kw_only=True)
class DistilBertConfig(ArchitectureConfig):
    """A bidirectional encoder with the layout of DistilBERT."""

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

    model_type: ClassVar[str] = "distilbert"
    layer_norm_eps: ClassVar[float] = 1e-12
    num_segments: ClassVar[int] = 0
    positive: ClassVar[tuple[str, ...]] = ()
    names_on_disk: ClassVar[dict[str, str]] = {
        "vocab_size": "vocab_size",
        "d_model": "dim",
        "num_heads": "n_heads",
        "num_layers": "n_layers",
        "d_ff": "hidden_dim",
        "max_seq_len": "max_position_embeddings",
        "dropout": "dropout",
        "activation": "activation",
        "pad_id": "pad_token_id",
    }
    needed_on_disk: ClassVar[tuple[str, ...]] = (
        *("vocab_size", "dim", "n_heads", "n_layers", "hidden_dim", "max_position_embeddings"),
    )

    @property
    def head_activation(self) -> str:
        """The activation in the head that predicts tokens."""
        return self.activation

    def to_disk(self) -> dict[str, Any]:
        """Return the keys of a Hugging Face config.json."""
        return super().to_disk() | {"attention_dropout": self.dropout, "hidden_dim": self.ff_width}


LAYOUT = Layout(
    prefix="distilbert.",
    backbone="""
        embeddings.token_embedding     embeddings.word_embeddings
        embeddings.position_embedding  embeddings.position_embeddings
        embeddings.norm                embeddings.LayerNorm
        layers.*.self_attn.q_proj      transformer.layer.*.attention.q_lin
        layers.*.self_attn.k_proj      transformer.layer.*.attention.k_lin
        layers.*.self_attn.v_proj      transformer.layer.*.attention.v_lin
        layers.*.self_attn.out_proj    transformer.layer.*.attention.out_lin
        layers.*.residual1.norm        transformer.layer.*.sa_layer_norm
        layers.*.feed_forward.linear1  transformer.layer.*.ffn.lin1
        layers.*.feed_forward.linear2  transformer.layer.*.ffn.lin2
        layers.*.residual2.norm        transformer.layer.*.output_layer_norm
    """,
    heads={
        "mlm": """
            head.dense  vocab_transform
            head.norm   vocab_layer_norm
            head.bias   vocab_projector.bias
        """,
        "classify": """
            backbone.pooler  pre_classifier
            head             classifier
        """,
        "tag": "head classifier",
        "qa": "head qa_outputs",
    },
    ignored=("embeddings.position_ids", "vocab_projector.weight"),
    left_out=("vocab_transform", "vocab_layer_norm", "vocab_projector"),
)


@register(DistilBertConfig, LAYOUT, class_prefix="DistilBert")
class DistilBert(Bert):
    """Encode tokens looking both ways, tokens [B T] (or features [B T C], which are summed) -> [B T D]."""

    def summary(self, x: Tensor, mask: Array | None) -> Tensor:
        """Return the first token's vector, passed through the pooler, which has another activation, x [B T D] -> [B D]."""
        assert self.pooler is not None, "prepare_for_head makes it"
        return ops.relu(self.pooler(x[:, 0]))
