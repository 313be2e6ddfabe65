"""What the tests of models under JAX share; all are skipped where JAX is absent."""

import pytest

jax = pytest.importorskip("jax", reason="JAX is not installed: pip install 'numformer[jax]'")

jax.config.update("jax_disable_most_optimizations", True)  # what runs once is not worth a long compilation


@pytest.fixture
def float64():
    """Let JAX keep float64, for this test alone."""
    with jax.enable_x64(True):
        yield
