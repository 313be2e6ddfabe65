"""What the tests of models under JAX share; all are skipped where JAX is absent."""

import os

import pytest

# XLA reads this once, before its first computation. Loops that it emits one by one compile in half the time of fused ones.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_use_fusion_emitters=false"

jax = pytest.importorskip("jax", reason="JAX is not installed: pip install 'numformer[jax]'")

jax.config.update("jax_disable_most_optimizations", True)  # what runs once is not worth a long compilation


@pytest.fixture
def float64():
    """Let JAX keep float64, for this test alone."""
    with jax.enable_x64(True):
        yield
