"""BERT: a bidirectional encoder with the layout and the weight names of Devlin et al. 2019 (arXiv:1810.04805)."""

from __future__ import annotations

from typing import Any, ClassVar

from numformer import ops, random
from numformer.errors import InputError
from numformer.models.config import BertConfig
from numformer.nn import init
from numformer.nn.attention import attend
from numformer.nn.layers import Dropout, Embedding, LayerNorm, Linear, make_activation, reseed_dropout
from numformer.nn.module import Module
from numformer.nn.stack import Stack

STD = 0.02  # of the embeddings at the start; other weights follow Glorot's rule, which suits narrow models too


class Bert(Module):
    """Encode tokens looking both ways, tokens [B T] (or features [B T C], which are summed) -> [B T D]."""

    name: ClassVar[str] = "bert"

    def __init__(self, config: BertConfig, *, seed: int = 0, pooler: bool = False) -> None:
        config.check_vocabulary()
        self.config, generator = config, random.generator(seed)
        self.embeddings = BertEmbeddings(config, generator)
        self.encoder = BertEncoder(config, generator)
        self.pooler: Any = BertPooler(config, generator) if pooler else None
        reseed_dropout(self, seed)

    def forward(self, tokens: Any, mask: Any = None, segments: Any = None) -> Any:
        """Encode; `mask` [B T] is False at padding, `segments` [B T] tells a first text (0) from a second (1).

        Raises InputError when T is over the context length.
        """
        mask = None if mask is None else ops.key_mask(mask)
        return self.encoder(self.embeddings(ops.as_ids(tokens, features=True), segments), mask)


class BertEmbeddings(Module):
    """Token, position and segment embeddings, summed and normalised."""

    def __init__(self, config: BertConfig, generator: Any) -> None:
        self.pad_id = config.pad_id
        self.word_embeddings = Embedding(config.vocab_size, config.d_model, std=STD, generator=generator)
        self.position_embeddings = Embedding(config.max_seq_len, config.d_model, std=STD, generator=generator)
        self.token_type_embeddings = Embedding(2, config.d_model, std=STD, generator=generator)
        self.LayerNorm = LayerNorm(config.d_model, config.layer_norm_eps)
        self.dropout = Dropout(config.dropout)

    def forward(self, tokens: Any, segments: Any = None) -> Any:
        """Embed."""
        length, longest = tokens.shape[1], len(self.position_embeddings.weight)
        if length > longest:
            raise InputError(f"a sequence of {length} tokens does not fit max_seq_len={longest}")
        if tokens.ndim == 3:
            words = ops.embedding_bag(tokens, self.word_embeddings.weight, padding_id=self.pad_id)
        else:
            words = self.word_embeddings(tokens)
        kinds = self.token_type_embeddings.weight[0] if segments is None else self.token_type_embeddings(segments)
        return self.dropout(self.LayerNorm(words + self.position_embeddings.weight[:length] + kinds))


class BertEncoder(Module):
    """The layers."""

    def __init__(self, config: BertConfig, generator: Any) -> None:
        self.layer = Stack(BertLayer(config, generator) for _ in range(config.num_layers))

    def forward(self, x: Any, mask: Any = None) -> Any:
        """Apply the layers to x [B T D]."""
        return self.layer(x, mask=mask)


class BertLayer(Module):
    """Post-norm attention and feed-forward, x [B T D] -> [B T D]."""

    def __init__(self, config: BertConfig, generator: Any) -> None:
        self.attention = BertAttention(config, generator)
        self.intermediate = BertIntermediate(config, generator)
        self.output = BertOutput(config.ff_width, config, generator)

    def forward(self, x: Any, mask: Any = None) -> Any:
        """Transform."""
        x = self.attention(x, mask)
        return self.output(self.intermediate(x), x)


class BertAttention(Module):
    """Self-attention and its residual branch."""

    def __init__(self, config: BertConfig, generator: Any) -> None:
        self.self = BertSelfAttention(config, generator)
        self.output = BertOutput(config.d_model, config, generator)

    def forward(self, x: Any, mask: Any = None) -> Any:
        """Attend."""
        return self.output(self.self(x, mask), x)


class BertSelfAttention(Module):
    """Every position looks at every other."""

    points: ClassVar[tuple[str, ...]] = ("heads",)
    points_on_request: ClassVar[tuple[str, ...]] = ("weights",)

    def __init__(self, config: BertConfig, generator: Any) -> None:
        self.num_heads = config.num_heads
        self.query, self.key, self.value = (
            Linear(config.d_model, config.d_model, generator=generator) for _ in range(3)
        )
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Any, mask: Any = None) -> Any:
        """Attend, x [B T D] -> [B T D]."""
        q, k, v = (ops.split_heads(part(x), num_heads=self.num_heads) for part in (self.query, self.key, self.value))
        return ops.merge_heads(attend(self, q, k, v, mask, dropout=self.dropout, causal=False)[0])


class BertIntermediate(Module):
    """The wide half of the feed-forward network."""

    def __init__(self, config: BertConfig, generator: Any) -> None:
        self.dense = Linear(config.d_model, config.ff_width, generator=generator)
        self.act = make_activation(config.activation)

    def forward(self, x: Any) -> Any:
        """Widen and activate."""
        return self.act(self.dense(x))


class BertOutput(Module):
    """Project a branch back to the width, drop out, add the residual and normalise."""

    def __init__(self, width: int, config: BertConfig, generator: Any) -> None:
        self.dense = Linear(width, config.d_model, generator=generator)
        self.LayerNorm = LayerNorm(config.d_model, config.layer_norm_eps)
        self.dropout = Dropout(config.dropout)

    def forward(self, branch: Any, x: Any) -> Any:
        """Close the branch."""
        return self.LayerNorm(self.dropout(self.dense(branch)) + x)


class BertPooler(Module):
    """The first token as a summary of the text, x [B T D] -> [B D]."""

    def __init__(self, config: BertConfig, generator: Any) -> None:
        self.dense = Linear(config.d_model, config.d_model, generator=generator)

    def forward(self, x: Any) -> Any:
        """Pool."""
        return ops.tanh(self.dense(x[:, 0]))


class BertPredictions(Module):
    """The masked-language-model head, x [B T D] and the embedding table [V D] -> logits [B T V]."""

    def __init__(self, config: BertConfig, generator: Any) -> None:
        self.transform = BertTransform(config, generator)
        self.bias = init.zeros(config.vocab_size)

    def forward(self, x: Any, table: Any) -> Any:
        """Score every token of the vocabulary."""
        return ops.linear(self.transform(x), table, self.bias)


class BertTransform(Module):
    """The layer between the encoder and the output."""

    def __init__(self, config: BertConfig, generator: Any) -> None:
        self.dense = Linear(config.d_model, config.d_model, generator=generator)
        self.act = make_activation(config.activation)
        self.LayerNorm = LayerNorm(config.d_model, config.layer_norm_eps)

    def forward(self, x: Any) -> Any:
        """Transform."""
        return self.LayerNorm(self.act(self.dense(x)))
