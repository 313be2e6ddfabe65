"""Language modelling: text in, a model that continues text out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self, Unpack

import numpy as np

from numformer._notices import amount, say
from numformer.data.split import split_by_group
from numformer.errors import InputError
from numformer.generation import BeamConfig, Processor, SamplingConfig, score
from numformer.generation.chat_template import ChatTemplate
from numformer.generation.texts import write_texts
from numformer.generation.window import window_start
from numformer.models import GPTConfig, build_model
from numformer.models.backbone import CausalModel
from numformer.pretrained import adapter_of
from numformer.tasks.language_model.format import Dialogue, Example, is_examples, read_examples, texts
from numformer.tasks.language_model.objective import LanguageModelObjective, PackedObjective
from numformer.tasks.language_model.packing import Encoded, describe_rows, encode_examples, pack, say_without_end
from numformer.tasks.language_model.scores import (
    ChoiceScores,
    TextScores,
    choice_scores,
    holds_questions,
    read_questions,
    strided_windows,
    text_scores,
)
from numformer.tasks.language_model.settings import LanguageModelConfig, LanguageModelSettings, ScoreOptions
from numformer.tasks.shared.example_task import say_held_out
from numformer.tasks.shared.format import marks
from numformer.tasks.shared.objective import Batch, TargetObjective
from numformer.tasks.shared.text_task import TextTask
from numformer.tasks.shared.windows import windows_of
from numformer.tasks.shared.writing import WritingDefaults, WritingSettings
from numformer.tokenizers import SubwordTokenizer, Tokenizer, begin_ids, encode_text
from numformer.training import TrainConfig
from numformer.training.workers import Workers, num_cores

MOST_TOKENS = 1024  # at a time, where a model to start from can see more and nobody says how many


class LanguageModel(TextTask):
    """A model that continues text, with its tokenizer and, for training, its text.

    `LanguageModel.from_text("book.txt").fit(steps=2000)` trains one, `LanguageModel.load(folder)` reads one.
    """

    name = "lm"
    model_class = CausalModel
    model_config = GPTConfig()
    data_config = LanguageModelConfig
    evaluate_options = ScoreOptions
    reading = ("encoding", "sequence_length")
    of_training = ("sequence_length",)

    model: CausalModel
    config: LanguageModelConfig
    defaults = WritingDefaults()  # of a folder that has a generation_config.json
    train_examples: list[Encoded] | None = None  # in place of the text's tokens
    valid_examples: Sequence[Encoded] = ()

    @classmethod
    def _own_source(cls, config: Any) -> dict[str, Any]:
        own = {"sequence_length": config.sequence_length, "skip_bad": config.skip_bad or None}
        return {name: value for name, value in own.items() if value is not None}

    @classmethod
    def build(cls, model: GPTConfig, tokenizer: Tokenizer, seed: int) -> CausalModel:
        """Return a new model that predicts the next token."""
        return build_model(model, "lm", seed=seed)

    @classmethod
    def from_text(cls, text: str | Path, **settings: Unpack[LanguageModelSettings]) -> Self:
        """Make an untrained model for a text, or for a .jsonl file of examples; see TextTask for most of the keywords.

        `sequence_length` is how many tokens the model is trained on at a time, and `lora` says which adapters are trained in
        place of the weights of `pretrained`. Raises InputError as TextTask does, and for examples that are malformed, which
        `skip_bad` leaves out.
        """
        return super().from_text(text, **settings)  # type: ignore[misc]  # what is not there is the task's own

    @property
    def template(self) -> ChatTemplate | None:
        """How the model is told of dialogues; None where it was trained on none."""
        if not isinstance(self.tokenizer, SubwordTokenizer) or self.tokenizer.chat_template is None:
            return None
        return ChatTemplate(self.tokenizer.chat_template, self.tokenizer)

    @property
    def _default_length(self) -> int:
        """The context length; of a model that others made with a long one, as much as a laptop has the memory for."""
        longest: int = self.model.config.max_seq_len
        return longest if self.config.pretrained is None else min(longest, MOST_TOKENS)

    @property
    def _length(self) -> int:
        """How many tokens the model sees at a time; raises InputError where it has no room for so many."""
        longest = self.model.config.max_seq_len
        wanted = self.config.sequence_length or self._default_length
        if not 1 <= wanted <= longest:
            raise InputError(f"sequence_length must be 1 to {longest}, which is the context length, got {wanted}")
        return wanted

    def objective(self, train: TrainConfig) -> LanguageModelObjective | PackedObjective:
        """Return what to train on; raises InputError without a text or examples."""
        if self.train_examples is not None:
            rows, valid = (pack(each, self._length) for each in (self.train_examples, self.valid_examples))
            return PackedObjective(self.model, self.tokenizer, rows, valid, train)
        return LanguageModelObjective(
            self.model, self.tokenizer, self._needs_text(), self.valid_tokens, train, self._length
        )

    @classmethod
    def _new_tokenizer(cls, config: Any, text: str | Path, vocab_size: int) -> Tokenizer:
        if is_examples(text):
            text = "\n".join(texts(read_examples(text, config.encoding, skip_bad=config.skip_bad)))
        return super()._new_tokenizer(config, text, vocab_size)

    def _take_data(self, text: str | Path) -> None:
        longest = self.model.config.max_seq_len
        if self.config.sequence_length is None and self._length < longest:
            what = f"{MOST_TOKENS:,} tokens at a time of {longest:,} that the model reads"
            say(f"trained on {what}: sequence_length sets it")
        if not is_examples(text):
            super()._take_data(text)
            return
        train, valid = self._parts(text)
        say_without_end(self.tokenizer)
        self.train_examples = self._encoded(train, "training")
        self.valid_examples = self._encoded(valid, "held-out")
        if not self.train_examples:
            raise InputError(f"{text}: there is nothing to learn in its examples")
        self.source |= {"crc32": marks(train, valid)["crc32"]}

    def _parts(self, path: str | Path) -> tuple[list[Example], list[Example]]:
        """Return the examples of a file to train on, and those held out, in groups of equal ones."""
        examples, config = self._read(path), self.config
        if config.valid is not None:
            return examples, self._read(config.valid)
        kept, held_out = split_by_group([repr(each) for each in examples], config.valid_fraction, self.seed)
        say_held_out(len(held_out), len(examples), config.valid_fraction, "equal examples")
        return [examples[number] for number in kept], [examples[number] for number in held_out]

    def _read(self, path: str | Path) -> list[Example]:
        examples = read_examples(path, self.config.encoding, skip_bad=self.config.skip_bad)
        say(f"{path}: {examples.report()}")
        return examples

    def _encoded(self, examples: Sequence[Example], part: str = "") -> list[Encoded]:
        template = self.template if any(isinstance(each, Dialogue) for each in examples) else None
        return encode_examples(examples, self.tokenizer, self._length, template, part)

    def _about(self, text: str | Path) -> str:
        if self.train_examples is None:
            return super()._about(text)
        rows = pack(self.train_examples, self._length)
        about = describe_rows(rows, len(self.train_examples), self._length)
        return f"{about}; held out: {amount(len(self.valid_examples), 'examples')}"

    def generate(
        self,
        prompt: str = "",
        max_new_tokens: int = 200,
        *,
        num_samples: int | None = None,
        stop: Iterable[str] = (),
        seed: int = 0,
        sampling: SamplingConfig | None = None,
        beam: BeamConfig | None = None,
        processors: Sequence[Processor] = (),
        on_text: Callable[[str], None] | None = None,
        backend: str = "numpy",
        **settings: Unpack[WritingSettings],
    ) -> Any:
        """Continue the prompt and return the new text, or a list of `num_samples` texts.

        `settings` are the fields of SamplingConfig or, with `num_beams` above 1, of BeamConfig; `sampling` and `beam` give
        them whole. What is not given is as the folder's generation_config.json says. A search returns its `num_samples`
        best texts. `stop` strings end a text before them. `processors` are functions (ids, logits) -> logits. `on_text`
        gets the pieces of the (first) text as they come, of a search the whole at its end. `backend` "jax" runs the model
        compiled, on an accelerator where JAX finds one.

        The prompt begins as the tokenizer says (`begin_ids`). An empty one without such tokens starts from a newline, or
        from token 0 where there is none; of one over the context length the end is seen, and how much of it is said on
        stderr.
        Raises InputError for a character that the vocabulary lacks and settings out of range.
        """
        if num_samples is not None and num_samples < 1:
            raise InputError(f"num_samples must be at least 1, got {num_samples}")
        if not isinstance(prompt, str):
            raise InputError(f"a prompt is a text, got {prompt!r:.60}")
        if sum(each is not None for each in (sampling, beam, settings or None)) > 1:
            raise InputError("give sampling, beam or their fields, one of the three")
        how = sampling or beam or self.defaults.config(settings, num_samples or 1)
        stop = stop if isinstance(stop, str) else tuple(stop)
        ids, longest = self._prompt_ids(prompt), self.model.config.max_seq_len
        if unseen := window_start(len(ids), longest):
            say(
                f"of the prompt's {len(ids):,} tokens the model sees the last {len(ids) - unseen:,}: max_seq_len={longest}"
            )
        texts = write_texts(
            self.model,
            self.tokenizer,
            ids,
            max_new_tokens,
            how,
            num_samples=num_samples or 1,
            stop=stop,
            end_ids=self.end_ids,
            seed=seed,
            processors=processors,
            on_text=on_text,
            follows=bool(prompt),
            backend=backend,
        )
        return texts[0] if num_samples is None else texts

    def score(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return for every text the log-probabilities [T-1] of its tokens after the first, which may be a beginning token."""
        return score(self.model, [self._prompt_ids(text) for text in texts])

    @property
    def end_ids(self) -> tuple[int, ...]:
        """The tokens that end a text: those that the folder names, or the tokenizer's own."""
        if self.defaults.eos_ids is not None:
            return self.defaults.eos_ids
        end = getattr(self.tokenizer, "eos_id", None)
        return () if end is None else (end,)

    def use_folder(self, folder: Path) -> None:
        """Take what generation_config.json says where the folder has it, or that of the model that its adapters belong to.

        A GGUF file has the end of a text in its tokenizer.
        """
        adapter = adapter_of(self.model)
        source = folder if adapter is None else adapter.path
        if source.is_dir():
            self.defaults = WritingDefaults.read(source)

    def save(self, folder: str | Path, dtype: str = "float32") -> None:
        """Write a Hugging Face folder, with the generation_config.json that the model came with."""
        super().save(folder, dtype)
        self.defaults.save(folder)

    def _prompt_ids(self, prompt: str) -> list[int]:
        """Return the tokens of a prompt, with those that it begins with."""
        begin = begin_ids(self.tokenizer).tolist()
        if prompt:
            return begin + encode_text(self.tokenizer, prompt).tolist()
        return begin or _start(self.tokenizer).tolist()

    def evaluate(
        self, text: str | Path | None = None, *, max_windows: int | None = None, stride: int | None = None
    ) -> TextScores | ChoiceScores:
        """Return the scores of a text, of examples, or of what was held out; of questions how many are answered rightly.

        Text is cut into windows of the context length, each predicted on its own; with `stride` they begin so many tokens
        apart. Raises InputError when there is no text, or it is too short.
        """
        if max_windows is not None and stride is not None:
            raise InputError("max_windows takes some of the windows of a text and stride all of them: give one of them")
        has_rows = bool(self.valid_examples) if text is None else is_examples(text)
        if has_rows and (stride is not None or max_windows is not None):
            raise InputError("stride and max_windows are for a text, not for examples or questions")
        if text is not None and has_rows and holds_questions(text, self.config.encoding):
            return self._answered(text)
        if examples := self._examples_of(text):
            rows = pack(examples, self._length)
            objective = PackedObjective(self.model, self.tokenizer, rows, rows, self.train_config)
            return self._measured(objective, objective.sequential(rows))
        tokens = self._tokens_of(text)
        if text is not None and len(begin := begin_ids(self.tokenizer)):
            tokens = np.concatenate([begin.astype(tokens.dtype), tokens])
        batches = (
            windows_of(tokens, self._length, max_windows)
            if stride is None
            else strided_windows(tokens, self._length, stride)
        )
        return self._measured(TargetObjective(self.model, self.tokenizer, self.train_config), batches)

    def _measured(self, objective: TargetObjective, batches: Iterator[Batch]) -> TextScores:
        with Workers(num_cores()) as workers:
            found = objective.measure(batches, workers)
        return text_scores(found["loss"], found["count"])

    def _examples_of(self, text: str | Path | None) -> Sequence[Encoded]:
        """Return the examples of a file, or those held out; none where there is a text in their place."""
        if text is None:
            return self.valid_examples
        if not is_examples(text):
            return ()
        if not (examples := self._encoded(self._read(text))):
            raise InputError(f"{text}: there is nothing to measure in its examples")
        return examples

    def _answered(self, path: str | Path) -> ChoiceScores:
        questions = read_questions(path, self.config.encoding, skip_bad=self.config.skip_bad)
        say(f"{path}: {questions.report()}")
        if not questions:
            raise InputError(f"{path} holds no questions")
        with Workers(num_cores()):
            return choice_scores(self.model, self.tokenizer, questions, self._length)


def _start(tokenizer: Tokenizer) -> np.ndarray:
    """Return the tokens to begin a text with."""
    try:
        return encode_text(tokenizer, "\n")
    except InputError:
        return np.array([0])
