"""`numformer plan` against JAX: what is computed there is what JAX keeps and holds."""

import numpy as np
import pytest

from numformer import GPT, CrossEntropyLoss, Llama
from numformer.training.mesh import MeshShape
from numformer.training.plan import Workload, make_plan

jax = pytest.importorskip("jax", reason="JAX is not installed: pip install 'numformer[jax]'")

B, T = 2, 64
SHAPE = {"vocab_size": 100, "d_model": 64, "num_heads": 4, "max_seq_len": T}
MODELS = [
    (GPT, {"d_ff": 200, "activation": "relu"}),
    (GPT, {"d_ff": 200, "activation": "gelu"}),
    (GPT, {"d_ff": 200}),
    (Llama, {"d_ff": 200, "num_kv_heads": 2, "head_dim": 24}),
    (Llama, {"d_ff": 200, "activation": "gelu_tanh"}),
]


def bytes_kept(model, precision):
    """Return the bytes of what JAX keeps between the forward and the backward pass, besides the parameters."""
    loss, ids = CrossEntropyLoss(), np.zeros((B, T), np.int32)
    params = {name: jax.ShapeDtypeStruct(p.shape, precision) for name, p in model.named_parameters()}
    _, pullback = jax.eval_shape(lambda given: jax.vjp(lambda p: loss(model.bind(p)(ids), ids), given), params)
    shapes = {p.shape for p in params.values()} | {p.shape[::-1] for p in params.values()}
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(pullback) if x.shape not in shapes)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(("kind", "settings"), MODELS, ids=lambda value: getattr(value, "__name__", None))
def test_a_layer_more_keeps_what_the_plan_says(kind, settings, precision):
    models = [kind(**SHAPE, **settings, num_layers=number) for number in (1, 2)]
    kept, planned = (
        [bytes_kept(model, precision) for model in models],
        [
            make_plan(
                Workload(config=model.config, batch_size=B, sequence_length=T, precision=precision), MeshShape()
            ).memory.activations
            for model in models
        ],
    )
    assert planned[1] - planned[0] == pytest.approx(kept[1] - kept[0], rel=0.05)
