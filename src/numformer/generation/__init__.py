"""Generation: sampling, the key/value cache, streaming."""

from numformer.generation.cache import KVCache
from numformer.generation.generate import generate
from numformer.generation.sampling import SamplingConfig
from numformer.generation.streaming import TextStream

__all__ = ["KVCache", "SamplingConfig", "TextStream", "generate"]
