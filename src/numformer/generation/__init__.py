"""Generation: sessions of growing sequences, sampling, beam search, streaming."""

from numformer.generation.beam import BeamConfig, Hypothesis, beam_search
from numformer.generation.generate import Generation, generate
from numformer.generation.logits import Processor
from numformer.generation.protocols import CausalLM, EncoderDecoder
from numformer.generation.sampling import SamplingConfig
from numformer.generation.scoring import score
from numformer.generation.session import Session, Step
from numformer.generation.streaming import TextDecoder, TextStream
from numformer.models.backbone import writes_with

__all__ = [
    "BeamConfig",
    "CausalLM",
    "EncoderDecoder",
    "Generation",
    "Hypothesis",
    "Processor",
    "SamplingConfig",
    "Session",
    "Step",
    "TextDecoder",
    "TextStream",
    "beam_search",
    "generate",
    "score",
]

writes_with(generate)
