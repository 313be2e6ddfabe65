"""Translation: a text in, another text out; the task that has the format, the objective and the search of this folder."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, NotRequired, Self, TypedDict, Unpack

import numpy as np

from numformer.data.pairs.reader import Pair
from numformer.data.tables.writer import check_table
from numformer.errors import InputError
from numformer.generation import BeamConfig, Hypothesis, Processor
from numformer.generation.beam import BeamSettings
from numformer.metrics import bleu
from numformer.models import Transformer, TransformerConfig
from numformer.models.encoder_decoder import EncoderDecoderModel
from numformer.tasks.shared.attention import Sequences, token_labels
from numformer.tasks.shared.encoding import cut, say_cut
from numformer.tasks.shared.example_task import Data, ExampleTask
from numformer.tasks.shared.mistakes import MistakeOptions, places_of, write_mistakes
from numformer.tasks.shared.objective import spread
from numformer.tasks.shared.prediction import as_texts
from numformer.tasks.translation.format import PairFormat, Seq2SeqConfig, Seq2SeqSettings
from numformer.tasks.translation.objective import (
    EncodedPair,
    Seq2SeqObjective,
    encode_pairs,
    encode_sources,
    frame_of,
    say_unknown_tokens,
    start_id,
)
from numformer.tasks.translation.search import SearchOptions, SearchSettings, search
from numformer.tokenizers import Tokenizer, TokenizerPair, encode_all, printable
from numformer.training import OptimConfig, TrainConfig
from numformer.training.workers import Workers, num_cores


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(MistakeOptions):
    """How to measure on pairs."""

    max_examples: int | None = None
    """Measure on so many pairs, taken evenly from the whole."""
    num_beams: int | None = None
    """Width of the beam."""
    length_penalty: float | None = None
    """Power of the length that scores are divided by."""
    backend: Literal["numpy", "jax"] = "numpy"
    """What searches the targets: jax compiles the model, which takes seconds at first, and uses an accelerator."""


@dataclass(frozen=True, kw_only=True)
class AttentionOptions:
    """What to look at in a translation."""

    target: str | None = None
    """The target; the model's own when not given."""
    part: Literal["encoder", "decoder", "cross"] = "cross"
    """The attention of the encoder, of the decoder to itself, or of the decoder to the source."""


class Target(TypedDict):
    """One of several targets."""

    target: str
    score: float


BLANK: Target = {"target": "", "score": 0.0}  # of a blank source, without asking the model


class Translation(TypedDict):
    """The best target of a source and its score (log-probability over length), and others when asked for."""

    source: str
    target: str
    score: float
    alternatives: NotRequired[list[Target]]


class Translator(ExampleTask):
    """A model that turns texts into other texts: `Translator.from_data("fra.tsv").fit()`, then `translate(["Hello."])`.

    An example is a pair of a source and a target.
    """

    name = "seq2seq"
    format = PairFormat()
    model_class = EncoderDecoderModel
    data_config = Seq2SeqConfig
    model_config = TransformerConfig()
    train_config: ClassVar[TrainConfig] = TrainConfig(
        steps=5000, batch_tokens=4096, label_smoothing=0.1, eval_every=500, eval_examples=1000
    )
    optim_config: ClassVar[OptimConfig] = OptimConfig(lr=2e-3, betas=(0.9, 0.98), schedule="cosine", warmup_steps=400)
    predict_options = SearchOptions
    evaluate_options = EvaluateOptions
    attention_options = AttentionOptions
    reading = ("encoding", "source", "target")
    second_text = "target"
    inputs = ("source",)
    columns = ("target", "score")

    model: EncoderDecoderModel
    tokenizer: TokenizerPair
    config: Seq2SeqConfig

    @classmethod
    def from_data(
        cls,
        data: Data[Pair],
        *,
        valid: Data[Pair] | None = None,
        config: Seq2SeqConfig | None = None,
        model: TransformerConfig | None = None,
        tokenizer: str | Path | Tokenizer | TokenizerPair | None = None,
        seed: int = 0,
        **settings: Unpack[Seq2SeqSettings],
    ) -> Self:
        """Make an untrained model for a file, or a list of pairs of a source and a target.

        `settings` are fields of the data config (such as vocab_size, pretrained, backwards) and of TransformerConfig
        (such as d_model), unless `config` and `model` give those whole. `tokenizer` is a kind, a folder, or an object.
        Raises InputError when the data is missing, malformed or too little.
        """
        if tokenizer is not None and not isinstance(tokenizer, (str, Path, TokenizerPair)):
            tokenizer = TokenizerPair(tokenizer, tokenizer)
        return cls._from_data(data, valid, config, model, tokenizer, seed, settings)

    @classmethod
    def build(
        cls,
        config: Seq2SeqConfig,
        model: TransformerConfig,
        base: Any,
        examples: Sequence[Pair],
        labels: list[str],
        seed: int,
    ) -> EncoderDecoderModel:
        """Return a new model, or the pretrained one."""
        if base is not None and not isinstance(base, EncoderDecoderModel):
            raise InputError(
                f"{config.pretrained} holds a {type(base).__name__}; this task starts from an encoder-decoder"
            )
        return base or Transformer(model, seed=seed)

    @classmethod
    def load_tokenizer(cls, folder: str | Path) -> TokenizerPair:
        """Return the tokenizers of a folder."""
        return TokenizerPair.load(folder)

    def objective(self, train: TrainConfig) -> Seq2SeqObjective:
        """Return what to train on."""
        examples = self._encoded(self._needs_data(), "training")
        valid = self._encoded(self.valid_data, "held-out") if self.valid_data else []
        return Seq2SeqObjective(self.model, self.tokenizer, examples, valid, train)

    def predict(
        self,
        texts: Sequence[str],
        *,
        beam: BeamConfig | None = None,
        max_new_tokens: int | None = None,
        processors: Sequence[Processor] = (),
        progress: bool = False,
        backend: str = "numpy",
        **settings: Unpack[BeamSettings],
    ) -> list[Translation]:
        """Return for every text the best target and its score (log-probability over length), and others when asked for.

        `settings` are the fields of BeamConfig (num_beams, length_penalty, num_return, no_repeat_ngram_size, …), and
        `processors` functions (ids, log-probabilities) -> log-probabilities that follow its rules. `max_new_tokens` is
        twice the source's length and ten more when not given. A source over the context length is cut, and how many are
        is said on stderr; a blank one has a blank target. Where hypotheses have the same text, the best of them stands for
        it, so there may be fewer than `num_return`. `backend` is as in Session.
        """
        texts = as_texts(texts)
        beam = beam or BeamConfig(**settings)
        # With all that the beam has, enough are left where some have the same text.
        searched = replace(beam, num_return=1 if beam.num_return == 1 else beam.num_beams)
        sources = self._sources([text for text in texts if text.strip()])
        target = self.tokenizer.target
        found = iter(search(self.model, target, sources, searched, max_new_tokens, progress, processors, backend))
        results: list[Translation] = []
        for text in texts:
            best, *others = self._targets(next(found))[: beam.num_return] if text.strip() else [BLANK]
            result: Translation = {"source": text, "target": best["target"], "score": best["score"]}
            if beam.num_return > 1:
                result["alternatives"] = others
            results.append(result)
        return results

    def translate(self, texts: Sequence[str], **settings: Unpack[SearchSettings]) -> list[str]:
        """Return the best target of every text; `settings` as in `predict`."""
        return [result["target"] for result in self.predict(texts, **settings)]

    def evaluate(
        self,
        data: Data[Pair] | None = None,
        *,
        max_examples: int | None = None,
        num_beams: int | None = None,
        length_penalty: float = 1.0,
        errors: str | Path | None = None,
        backend: str = "numpy",
    ) -> dict[str, Any]:
        """Return loss and exact match on a file, a list, or the held-out pairs; with sacrebleu installed, BLEU and chrF.

        The targets are searched by the `backend`, as in Session; the loss is NumPy's.
        With `errors` writes the sources whose target is not the same into that .csv, .tsv or .jsonl file, with their scores.
        """
        check_table(errors)
        if max_examples is not None and max_examples < 1:
            raise InputError(f"max_examples must be at least 1, got {max_examples}")
        examples = self._examples_of(data)
        pairs = spread(examples, max_examples)
        if num_beams is None:
            num_beams = 1 if self.config.is_toy else BeamConfig.num_beams
        beam = BeamConfig(num_beams=num_beams, length_penalty=length_penalty)
        objective = Seq2SeqObjective(self.model, self.tokenizer, self._encoded(pairs), None, TrainConfig())
        with Workers(num_cores()) as workers:
            figures = objective.measure(objective.sequential(objective.examples), workers)
        found = self.predict([source for source, _ in pairs], beam=beam, progress=True, backend=backend)
        predicted = [each["target"] for each in found]
        references = [target for _, target in pairs]
        same = sum(a == b.strip() for a, b in zip(predicted, references, strict=True))
        if errors is not None:
            wrong = [
                {"place": place, "source": source, "gold": target, "predicted": each["target"], "score": each["score"]}
                for place, (source, target), each in zip(
                    spread(places_of(examples), max_examples), pairs, found, strict=True
                )
                if each["target"] != target.strip()
            ]
            write_mistakes(errors, ("place", "source", "gold", "predicted", "score"), wrong)
        scores = {"loss": figures["loss"], "exact_match": same / len(pairs), "count": len(pairs)}
        return scores | self.compare(predicted, references)

    def input_columns(self) -> tuple[str, ...]:
        """Return the column of the source in a table, as the run was trained."""
        return (self.config.target if self.config.backwards else self.config.source,)

    def columns_without_header(self) -> tuple[str, ...]:
        """Return the columns of pairs in .tsv."""
        return self.config.source, self.config.target

    def table_columns(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the columns of the best target, and of the others when asked for."""
        return (*self.columns, "alternatives") if settings.get("num_return", 1) > 1 else self.columns

    def blank_prediction(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the prediction of a blank source: a blank target."""
        return dict(self.predict([""], **settings)[0])

    def compare(self, predicted: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
        """Return the scores that come from a library, as far as it is installed."""
        if self.config.is_toy or importlib.util.find_spec("sacrebleu") is None:
            return {}
        return bleu(predicted, references)

    def sequences(self, text: str, second: str | None) -> Sequences:
        """Return the tokens of a source and of a target, by default the model's own."""
        target = self.translate([text])[0] if second is None else second
        tokens, longest = self.tokenizer.target, self.model.config.max_seq_len
        (source,), lost = encode_sources(self.model, self.tokenizer.source, [text])
        whole = encode_all(tokens, [target])[0]
        begin = [start_id(self.model, tokens), *frame_of(self.model, tokens)]
        ids = cut(tokens, target, whole, longest - len(begin))
        if second is not None:  # of the model's own, `translate` has said what is cut
            say_cut(lost, 1, "sources", longest)
            say_cut(int(len(ids) < len(whole)), 1, "targets", longest)
        seen = np.concatenate([begin, ids])
        frame = ["<bos>"] * (len(begin) - 1)
        read, written = token_labels(self.tokenizer.source, text), [*frame, *token_labels(tokens, target), "<eos>"]
        labels = {
            "encoder": [*frame, *read[: len(source) - len(frame) - 1], "<eos>"],
            "decoder": ["<bos>", *written][: len(seen)],
            "written": written[: len(seen)],
        }
        return Sequences((source[None], seen[None]), labels)

    def _targets(self, hypotheses: Sequence[Hypothesis]) -> list[Target]:
        """Return the texts of hypotheses, which come best first, each text once."""
        scores: dict[str, float] = {}
        for hypothesis in hypotheses:
            scores.setdefault(printable(self.tokenizer.target.decode(hypothesis.ids).strip()), hypothesis.score)
        return [{"target": target, "score": score} for target, score in scores.items()]

    def _sources(self, texts: Sequence[str]) -> list[np.ndarray]:
        longest = self.model.config.max_seq_len
        sources, lost = encode_sources(self.model, self.tokenizer.source, texts)
        say_cut(lost, len(texts), "sources", longest)
        say_unknown_tokens(self.tokenizer.source, sources)
        return sources

    def _encoded(self, pairs: Sequence[Pair], part: str = "") -> list[EncodedPair]:
        return encode_pairs(self.model, self.tokenizer, pairs, part)
