"""Embeddings: a text in, a vector out, and which of many texts are the most similar to one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn, TypedDict

import numpy as np

from numformer._notices import say, say_share
from numformer.data.vectors import check_vectors, cosines
from numformer.errors import InputError
from numformer.models import BertConfig, SentenceEncoder
from numformer.tasks.shared.attention import Sequences, framed_sequence
from numformer.tasks.shared.encoding import AnyTokenizer, framed, pad_id, padded
from numformer.tasks.shared.format import DataConfig
from numformer.tasks.shared.prediction import as_texts, check_many, each_batch, in_pieces, values
from numformer.tasks.shared.task import Task
from numformer.tokenizers import Tokenizer
from numformer.training import TrainConfig


@dataclass(frozen=True, kw_only=True)
class EmbedConfig(DataConfig):
    """How the data of a run was read that gives vectors now."""

    text: tuple[str, ...] | None = None
    """Name of the column or key of the text, or several, which are joined with a space; "text" when not given."""


class SimilarText(TypedDict):
    """A text, its place among the texts from 0, and the cosine of the angle between its vector and that of the query."""

    text: str
    index: int
    score: float


class Embedder(Task):
    """A model that turns texts into vectors: `Embedder.load("all-minilm-l6-v2").encode(["a red chair"])`.

    How the positions of a text become one vector, what length that has, and how many tokens are read, a folder of
    sentence-transformers says, a GGUF file the first alone. Of every other model that looks both ways, be it without a head
    or trained for a task, a vector is the mean of the positions, which is said on stderr.
    Raises InputError for a model that sees only what came before.
    """

    name = "embed"
    model_class = SentenceEncoder
    model_config = BertConfig()
    data_config = EmbedConfig
    needs: ClassVar[str | None] = "an encoder that looks both ways, such as a BERT"
    columns = ("index", "score")

    model: SentenceEncoder
    tokenizer: Tokenizer
    config: EmbedConfig

    def __init__(self, model: Any, tokenizer: AnyTokenizer, config: EmbedConfig | None = None) -> None:
        super().__init__(_sentence_encoder(model), tokenizer, config)

    @classmethod
    def fits(cls, model: Any) -> bool:
        """Tell whether a model looks both ways, whatever head it has."""
        return bool(getattr(getattr(model, "backbone", None), "looks_ahead", False))

    def encode(self, texts: Sequence[str], *, batch_size: int = 32, progress: bool = True) -> np.ndarray:
        """Return the vectors of texts, float32 [N D], which any `batch_size` leaves the same to the fifth digit.

        Texts of similar lengths are read together. One that is too long is cut to the tokens that the model reads, and how
        many were is said; a blank one has the vector of the tokens that begin and end a text. Raises InputError for what is
        no list of texts.
        """
        texts = as_texts(texts)
        if type(batch_size) is not int or batch_size < 1:
            raise InputError(f"batch_size must be a whole number of at least 1, got {batch_size!r}")
        rows = framed(self.tokenizer, texts, self.model.max_seq_len)

        def work(numbers: list[int]) -> np.ndarray:
            return values(self.model(*padded([rows[number] for number in numbers], pad_id(self.tokenizer))))

        vectors = np.empty((len(rows), self.width), np.float32)
        for numbers, found in each_batch(rows, work, progress, batch_size=batch_size):
            vectors[numbers] = found
        return vectors

    def stream(
        self, inputs: Iterable[Any], *, paused: Callable[[], bool] = lambda: False, **settings: Any
    ) -> Iterator[np.ndarray]:
        """Yield the vector [D] of each of any number of texts, in order, with some hundred of them in memory.

        None stands for a blank text. `paused` is as in other tasks, and `settings` are those of `encode`.
        """

        def answer(piece: list[str | None]) -> np.ndarray:
            return self.encode([each or "" for each in piece], progress=False, **settings)

        return in_pieces(check_many(inputs), paused, answer)

    def similar(
        self,
        query: str,
        texts: Sequence[str],
        *,
        vectors: np.ndarray | None = None,
        top: int = 5,
        batch_size: int = 32,
        progress: bool = True,
    ) -> list[SimilarText]:
        """Return the `top` texts whose vectors have the smallest angles to that of a query, the smallest first.

        Blank ones are left out, which is said. `vectors` [N D] are those of all texts, where `encode` has made them before.
        Raises InputError for a blank query, no texts, and vectors that do not fit the texts or the model.
        """
        texts = as_texts(texts)
        if not isinstance(query, str) or not query.strip():
            raise InputError(f"the query must be a text, got {query!r:.60}")
        if type(top) is not int or top < 1:
            raise InputError(f"top must be a whole number of at least 1, got {top!r}")
        if not texts:
            raise InputError("there are no texts to compare the query with")
        if vectors is None:
            vectors = self.encode(texts, batch_size=batch_size, progress=progress)
        check_vectors(vectors, len(texts), self.width)
        say_share(sum(not text.strip() for text in texts), len(texts), "texts", "left out: blank")
        scores = cosines(self.encode([query], progress=False)[0], vectors)
        best = [place for place in np.argsort(-scores, kind="stable").tolist() if texts[place].strip()][:top]
        return [{"text": texts[place], "index": place, "score": float(scores[place])} for place in best]

    @property
    def width(self) -> int:
        """How many numbers a vector has."""
        return int(self.model.config.d_model)

    def details(self) -> dict[str, str]:
        """Return what the vectors are."""
        made = {"mean": "the mean", "max": "the largest values", "cls": "the first"}[self.model.vector]
        length = ", of length 1" if self.model.normalize else ""
        return {"vectors": f"{made} of the positions{length}; texts of up to {self.model.max_seq_len:,} tokens"}

    def input_columns(self) -> tuple[str, ...]:
        """Return the columns of a table that hold the text, as the run was trained; several are joined."""
        return self.config.text or ("text",)

    def in_words(self, prediction: Mapping[str, Any]) -> str:
        """Return how similar a text is, as a person reads it."""
        return f"{prediction['score']:.4f}"

    def sequences(self, text: str, second: str | None) -> Sequences:
        """Return the tokens of a text between the begin and end tokens."""
        return framed_sequence(self.tokenizer, text, self.model.max_seq_len)

    def objective(self, train: TrainConfig) -> NoReturn:
        """Raise InputError: vectors are not trained, and the tasks that start from a model are named."""
        raise InputError(
            "an Embedder is not trained: start a task from its folder, as by Classifier.from_data(…, pretrained=folder)"
        )


def _sentence_encoder(model: Any) -> SentenceEncoder:
    """Return a model that makes vectors, the mean of the positions where it has not been one before, which is said."""
    if isinstance(model, SentenceEncoder):
        return model
    if not Embedder.fits(model):
        raise InputError(f"an Embedder needs {Embedder.needs}, got a {type(model).__name__}")
    say(f"a {type(model).__name__} says nothing of vectors of texts: they are the mean of the positions")
    return SentenceEncoder(model.backbone).eval()
