"""The encoder-decoder beside torch.nn.Transformer; tests/golden/README.md names the keys."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from numformer import CrossEntropyLoss, Tensor, gradients
from numformer.models import Transformer, TransformerConfig

with safe_open(Path(__file__).parents[1] / "golden" / "transformer.safetensors", "np") as file:
    CONFIG = json.loads(file.metadata()["config"])
    ARRAYS = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118

STACK_WEIGHTS = {name.removeprefix("weight."): a for name, a in ARRAYS.items() if name.startswith("weight.")}
RENAMED = {
    r"\.multihead_attn\.": ".cross_attn.",
    r"\.(linear\d)\.": r".feed_forward.\1.",
    r"\.norm(\d)\.": r".residual\1.norm.",
}
PROJECTIONS = ("q_proj", "k_proj", "v_proj")
both_dtypes = pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-6), (np.float32, 5e-5)])


def as_ours(weights):
    """Rename the weights of torch.nn.Transformer, and cut its stacked projections in three."""
    found = {}
    for name, array in weights.items():
        for theirs, ours in RENAMED.items():
            name = re.sub(theirs, ours, name)
        if "in_proj_" in name:
            for part, values in zip(PROJECTIONS, np.split(array, 3), strict=True):
                found[name.replace("in_proj_", f"{part}.")] = values
        else:
            found[name] = array
    return found


def unpacked(case, shapes):
    """Return the gradients that lie end to end in the order of their names, by name."""
    flat, found, at = ARRAYS[f"{case}.grad"], {}, 0
    for name in sorted(shapes):
        size = int(np.prod(shapes[name]))
        found[name] = flat[at : at + size].reshape(shapes[name])
        at += size
    assert at == len(flat)
    return found


def make(case, dtype, weights):
    model = Transformer(TransformerConfig(**CONFIG[case], dropout=0.0))
    model.load_state_dict(weights)
    return model.astype(dtype)


def of_stacks(case):
    """Return the weights of the layers; post-norm stacks have no LayerNorm at the end."""
    final = ("encoder.norm", "decoder.norm")
    return {n: a for n, a in STACK_WEIGHTS.items() if CONFIG[case]["pre_norm"] or not n.startswith(final)}


def assert_close(ours, golden, tolerance, name, scale=1e-3):
    error = abs(ours - golden).max() / max(abs(golden).max(), scale)
    assert error <= tolerance, f"{name} is off by {error:.2g}"


@both_dtypes
@pytest.mark.parametrize("case", ["pre_relu", "pre_gelu", "post_relu", "post_gelu"])
def test_layers_and_every_gradient_are_those_of_pytorch(case, dtype, tolerance):
    theirs = of_stacks(case)
    outside = {
        n: a for n, a in Transformer(TransformerConfig(**CONFIG[case])).state_dict().items() if "coder." not in n
    }
    model = make(case, dtype, as_ours(theirs) | outside)
    x, y = (Tensor(ARRAYS[name].astype(dtype), requires_grad=True) for name in ("x", "y"))
    src_mask, tgt_mask = (model.padding_mask(ARRAYS[name]) for name in ("src", "tgt"))
    out = model.decoder(y, model.encoder(x, src_mask), src_mask, tgt_mask)
    assert_close(out.data, ARRAYS[f"{case}.out"], tolerance, "the output")
    own = {name: p for name, p in model.named_parameters() if name not in outside}
    dx, dy, *found = gradients(out, [x, y, *own.values()], ARRAYS["dout"])
    assert_close(dx, ARRAYS[f"{case}.dx"], tolerance, "the gradient of the source")
    assert_close(dy, ARRAYS[f"{case}.dy"], tolerance, "the gradient of the target")
    expected = as_ours(unpacked(case, {name: array.shape for name, array in theirs.items()}))
    assert own.keys() == expected.keys()
    scale = 0.01 * max(abs(grad).max() for grad in expected.values())  # that of a key bias is zero but for rounding
    for name, ours in zip(own, found, strict=True):
        assert_close(ours, expected[name], tolerance, name, scale)


@both_dtypes
@pytest.mark.parametrize("case", ["shared", "separate"])
def test_whole_models_and_every_gradient_are_those_of_pytorch(case, dtype, tolerance):
    prefix = f"{case}.weight."
    outside = {name.removeprefix(prefix): array for name, array in ARRAYS.items() if name.startswith(prefix)}
    theirs = outside | {f"stacks.{name}": array for name, array in of_stacks(case).items()}

    def renamed(weights):
        return {name.removeprefix("stacks."): array for name, array in as_ours(weights).items()}

    model = make(case, dtype, renamed(theirs))
    logits = model(ARRAYS["src"], ARRAYS["tgt"])
    assert_close(logits.data[ARRAYS["tgt"] > 0], ARRAYS[f"{case}.logits"][ARRAYS["tgt"] > 0], tolerance, "the logits")
    loss = CrossEntropyLoss()(logits.reshape(-1, logits.shape[-1]), ARRAYS[f"{case}.targets"].reshape(-1))
    assert loss.item() == pytest.approx(ARRAYS[f"{case}.loss"].item(), rel=tolerance)
    expected = renamed(unpacked(case, {name: array.shape for name, array in theirs.items()}))
    own = dict(model.named_parameters())
    assert own.keys() == expected.keys()
    scale = 0.01 * max(abs(grad).max() for grad in expected.values())  # that of a key bias is zero but for rounding
    for name, ours in zip(own, gradients(loss, list(own.values())), strict=True):
        assert_close(ours, expected[name], tolerance, name, scale)
