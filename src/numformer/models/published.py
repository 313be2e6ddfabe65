"""Shapes of published models by name, for those who plan with one: config alone, no weights."""

from __future__ import annotations

from numformer.models.config import ArchitectureConfig
from numformer.models.gpt import GPTConfig
from numformer.models.llama import LlamaConfig


def _gpt2(num_layers: int, d_model: int, num_heads: int) -> GPTConfig:
    """Radford et al. 2019, table 2."""
    return GPTConfig(vocab_size=50257, max_seq_len=1024, num_layers=num_layers, d_model=d_model, num_heads=num_heads)


def _llama(num_layers: int, d_model: int, num_heads: int, d_ff: int, num_kv_heads: int, version: int) -> LlamaConfig:
    """Touvron et al. 2023 (arXiv:2307.09288), table 1; Grattafiori et al. 2024 (arXiv:2407.21783), table 3."""
    return LlamaConfig(
        vocab_size={2: 32000, 3: 128256}[version],
        max_seq_len={2: 4096, 3: 8192}[version],
        rope_theta={2: 10000.0, 3: 500000.0}[version],
        num_layers=num_layers,
        d_model=d_model,
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        d_ff=d_ff,
    )


PUBLISHED: dict[str, ArchitectureConfig] = {
    "gpt2": _gpt2(12, 768, 12),
    "gpt2-medium": _gpt2(24, 1024, 16),
    "gpt2-large": _gpt2(36, 1280, 20),
    "gpt2-xl": _gpt2(48, 1600, 25),
    "llama-2-7b": _llama(32, 4096, 32, 11008, 32, version=2),
    "llama-2-13b": _llama(40, 5120, 40, 13824, 40, version=2),
    "llama-2-70b": _llama(80, 8192, 64, 28672, 8, version=2),
    "llama-3-8b": _llama(32, 4096, 32, 14336, 8, version=3),
    "llama-3-70b": _llama(80, 8192, 64, 28672, 8, version=3),
}
