"""Texts that go on from a prompt, by drawing tokens or by a search, streamed as they become certain."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from numformer.generation.beam import BeamConfig, beam_search
from numformer.generation.generate import generate
from numformer.generation.logits import Processor
from numformer.generation.protocols import CausalLM
from numformer.generation.sampling import SamplingConfig
from numformer.generation.streaming import TextStream
from numformer.generation.words import with_word_ids
from numformer.tokenizers import Tokenizer

OnText = Callable[[str], None]


def write_texts(
    model: CausalLM,
    tokenizer: Tokenizer,
    ids: Sequence[int],
    max_new_tokens: int,
    how: SamplingConfig | BeamConfig,
    *,
    num_samples: int = 1,
    stop: Iterable[str] = (),
    end_ids: Sequence[int] = (),
    seed: int = 0,
    processors: Sequence[Processor] = (),
    on_text: OnText | None = None,
    follows: bool = True,
    backend: str = "numpy",
) -> list[str]:
    """Return the new texts after the prompt `ids`: `num_samples` drawn ones, or the results of a search, best first.

    A text ends before the first string of `stop` or token of `end_ids`. `on_text` gets the pieces of the first text as they
    become certain, that of a search at its end. Where the text `follows` that of the prompt, a space between them is kept.
    `backend` is as in Session.
    Raises InputError as `generate` and `beam_search` do.
    """
    stop, how = stop if isinstance(stop, str) else tuple(stop), with_word_ids(how, tokenizer)

    def new_stream(new: Sequence[int] = ()) -> TextStream:
        stream = TextStream(tokenizer, stop, ids if follows else ())
        for token in new:
            stream.push(token)
        return stream

    if isinstance(how, BeamConfig):
        (found,) = beam_search(
            model,
            [ids],
            max_new_tokens,
            how,
            eos_id=end_ids,
            vocab_size=tokenizer.vocab_size,
            processors=processors,
            ends=(lambda new: new_stream(new).finished) if stop else None,
            backend=backend,
        )
        streams = [new_stream(hypothesis.ids) for hypothesis in found] or [new_stream()]
        for stream in streams:
            stream.flush()
        if on_text and streams[0].text:
            on_text(streams[0].text)
        return [stream.text for stream in streams]

    streams = [new_stream() for _ in range(num_samples)]

    def on_token(row: int, token: int) -> bool:
        if token in end_ids:
            return True
        piece = streams[row].push(token)
        if on_text and row == 0 and piece:
            on_text(piece)
        return streams[row].finished

    generate(
        model,
        [ids] * num_samples,
        max_new_tokens,
        sampling=how,
        seed=seed,
        stop_ids=end_ids,
        vocab_size=tokenizer.vocab_size,
        processors=processors,
        backend=backend,
        on_token=on_token,
    )
    rest = [stream.flush() for stream in streams]
    if on_text and rest[0]:
        on_text(rest[0])
    return [stream.text for stream in streams]
