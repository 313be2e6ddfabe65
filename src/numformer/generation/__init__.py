"""Generation: sampling, beam search, the key/value cache, streaming."""

from numformer.generation.beam import BeamConfig, Hypothesis, beam_search
from numformer.generation.cache import KVCache
from numformer.generation.generate import generate
from numformer.generation.sampling import SamplingConfig
from numformer.generation.seq2seq import Seq2SeqDecoder
from numformer.generation.streaming import TextStream
from numformer.models.backbone import writes_with

__all__ = [
    "BeamConfig",
    "Hypothesis",
    "KVCache",
    "SamplingConfig",
    "Seq2SeqDecoder",
    "TextStream",
    "beam_search",
    "generate",
]

writes_with(generate)
