"""RoBERTa: BERT trained longer and on more, without segments (Liu et al. 2019, arXiv:1907.11692).

It differs in where positions are counted from, and in the names and the layers of its heads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from numformer import ops
from numformer._names import takes_synonyms
from numformer.autograd import Tensor, namespace_of
from numformer.errors import InputError
from numformer.models.bert import NAMES, Bert, BertConfig, Embeddings
from numformer.models.config import is_number
from numformer.models.layouts import Layout
from numformer.models.registry import register


@takes_synonyms
@dataclass(frozen=True, kw_only=True)
class RobertaConfig(BertConfig):
    """A bidirectional encoder with the layout of RoBERTa; the files count in max_seq_len the rows up to that of padding."""

    pad_id: int = 1
    """The token that fills a batch up; its position is the row of that number, and texts begin after it."""
    num_segments: int = 1
    """Number of segments; with one all tokens are of it."""

    model_type: ClassVar[str] = "roberta"
    absent_on_disk: ClassVar[dict[str, Any]] = {"layer_norm_eps": 1e-12, "num_segments": 2}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pad_id < 0 or self.pad_id >= self.vocab_size > 0:
            raise InputError(f"pad_id must be one of the {self.vocab_size} tokens, got {self.pad_id}")

    @property
    def head_activation(self) -> str:
        """The activation in the head that predicts tokens, which is always the same here."""
        return "gelu"

    def to_disk(self) -> dict[str, Any]:
        """Return the keys of a Hugging Face config.json."""
        return super().to_disk() | {"max_position_embeddings": self.max_seq_len + self.pad_id + 1}

    @classmethod
    def _settings_of(cls, keys: dict[str, Any]) -> dict[str, Any]:
        settings = super()._settings_of(keys)
        pad_id, rows = settings.get("pad_id", cls.pad_id), settings.get("max_seq_len")
        if is_number(pad_id, int) and is_number(rows, int):
            settings["max_seq_len"] = rows - pad_id - 1
        return settings


LAYOUT = Layout(
    prefix="roberta.",
    backbone=NAMES,
    heads={
        "": "pooler pooler.dense",
        "mlm": """
            backbone.pooler  roberta.pooler.dense
            head.dense       lm_head.dense
            head.norm        lm_head.layer_norm
            head.bias        lm_head.bias
        """,
        "classify": """
            backbone.pooler  classifier.dense
            head             classifier.out_proj
        """,
        "tag": "head classifier",
        "qa": "head qa_outputs",
    },
    ignored=("embeddings.position_ids", "lm_head.decoder"),
    left_out=("pooler", "lm_head"),
)


@register(RobertaConfig, LAYOUT, class_prefix="Roberta")
class Roberta(Bert):
    """Encode tokens looking both ways, tokens [B T] (or features [B T C], which are summed) -> [B T D]."""

    separators = 2

    def make_embeddings(self) -> Embeddings:
        """Return what turns tokens into vectors."""
        return RobertaEmbeddings(self.config, first_position=self.config.pad_id + 1)


class RobertaEmbeddings(Embeddings):
    """BERT's, but positions count the tokens that are no padding."""

    def positions(self, tokens: Any) -> Tensor:
        """Return the vectors of the positions of tokens [B T] or [B T C], -> [B T D]."""
        ids = tokens if tokens.ndim == 2 else tokens[..., 0]
        xp = namespace_of(ids)
        real = xp.astype(ids != self.pad_id, ids.dtype)
        return self.position_embedding(ops.as_ids(xp.cumulative_sum(real, axis=1) * real + self.pad_id))
