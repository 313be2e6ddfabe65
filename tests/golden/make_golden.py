"""Write the golden files that the tests compare numformer with: PyTorch's and transformers' answers, recorded once.

Run: python tests/golden/make_golden.py     (any Python with torch, transformers and safetensors; the tests need none)

gpt2.safetensors   a whole GPT-2: logits, loss and every gradient, computed in float64 from O(1) weights
ops.safetensors    single operations: output and input gradients for a random upstream gradient, in float64
curve.safetensors  forty training steps in float32: loss and gradient norm at every step, first and last weights
adam.safetensors   three steps of Adam, AdamW and SGD written out number by number, and torch's own beside them

Every float input is rounded to float32 first, so a float32 test and a float64 test start from the same numbers.
"""

import json
import math
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.numpy import load_file
from safetensors.numpy import save as serialise
from torch.nn import functional as F  # noqa: N812
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

FOLDER = Path(__file__).parent
IGNORED = -100  # the target that no loss counts

Arrays = dict[str, np.ndarray]


def save(name: str, arrays: Arrays, config: dict) -> None:
    """Write one file; its metadata say what made it."""
    metadata = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "numpy": np.__version__,
        "config": json.dumps(config),
    }
    arrays = {key: np.array(value, order="C") for key, value in arrays.items()}  # safetensors ignores strides
    for key, value in arrays.items():
        assert np.isfinite(value).all(), f"{name}: {key} is not finite"
    content = serialise(arrays, metadata)
    # safetensors orders the metadata at random; in a fixed order, the same arrays are the same bytes.
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = metadata
    header_bytes = json.dumps(header, separators=(",", ":")).encode().ljust(length)
    assert len(header_bytes) == length
    (FOLDER / f"{name}.safetensors").write_bytes(content[:8] + header_bytes + content[8 + length :])
    print(f"{name}.safetensors: {len(arrays)} arrays, {len(content):,} bytes")


def float32(values: np.ndarray) -> np.ndarray:
    """Values that float32 can hold, kept in float64."""
    return np.asarray(values, np.float32).astype(np.float64)


def uneven(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Random numbers whose rows (last axis) all differ in mean and scale."""
    rows = (*shape[:-1], 1)
    return float32(rng.normal(size=shape) * rng.uniform(0.3, 3, rows) + 2 * rng.normal(size=rows))


# ---- a whole GPT-2 ---------------------------------------------------------------------------------------------------


def make_gpt2_model(config: dict) -> GPT2LMHeadModel:
    plain = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "bos_token_id": None, "eos_token_id": None}
    return GPT2LMHeadModel(GPT2Config(**config, **plain, attn_implementation="eager", use_cache=False))


def saved_weights(model: GPT2LMHeadModel) -> Arrays:
    """The weights under the names, and in the layout, in which transformers writes them to disk."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return load_file(Path(folder) / "model.safetensors")


def make_gpt2() -> None:
    rng = np.random.default_rng(1)
    config = {
        "vocab_size": 37,
        "n_embd": 24,
        "n_head": 3,
        "n_layer": 2,
        "n_positions": 16,
        "n_inner": 40,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
    }
    model = make_gpt2_model(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            shape = tuple(weight.shape)
            if "ln_" in name and name.endswith("weight"):
                value = rng.uniform(0.5, 1.5, shape) * rng.choice([-1, 1], shape)
            elif name.endswith("bias"):
                value = 0.5 * rng.normal(size=shape)
            elif ".wte." in name or ".wpe." in name:  # uneven rows, and small enough for logits of O(1)
                value = 0.12 * uneven(rng, *shape)
            else:  # Conv1D, [in, out]
                value = 1.5 * rng.normal(size=shape) / math.sqrt(shape[0])
            weight.copy_(torch.tensor(value))
    weights = saved_weights(model)

    tokens = rng.integers(37, size=(3, 11))
    tokens[0, :3] = tokens[1, 4] = tokens[2, 10] = 5  # one token five times or more
    targets = rng.integers(37, size=(3, 11))
    targets[0, :4] = targets[1, 7:] = targets[2, 5] = IGNORED  # another number of real tokens in every row

    model = model.double().train()
    logits = model(torch.tensor(tokens)).logits
    # Not the model's own loss: that shifts the targets by one and computes in float32.
    loss = F.cross_entropy(logits.flatten(0, 1), torch.tensor(targets).flatten(), ignore_index=IGNORED)
    loss.backward()
    gradients = {name: weight.grad.numpy() for name, weight in model.named_parameters()}
    assert gradients.keys() == weights.keys(), "a gradient for every saved weight, the tied head's inside wte's"

    arrays = {"tokens": tokens, "targets": targets}
    arrays |= {"logits": logits.detach().numpy().astype(np.float32), "loss": np.float32(loss.item())}
    arrays |= {f"weight.{name}": value for name, value in weights.items()}
    arrays |= {f"grad.{name}": value.astype(np.float32) for name, value in gradients.items()}
    save("gpt2", arrays, config)


# ---- single operations -----------------------------------------------------------------------------------------------


def layer_norm(x, weight, bias, *, eps):
    return F.layer_norm(x, x.shape[-1:], weight, bias, eps)


def rms_norm(x, weight, *, eps):
    return F.rms_norm(x, x.shape[-1:], weight, eps)


def gelu(x, *, approximate):
    return F.gelu(x, approximate=approximate)


def silu(x):
    return F.silu(x)


def softmax(x):
    return F.softmax(x, -1)


def log_softmax(x):
    return F.log_softmax(x, -1)


def cross_entropy(logits, targets, *, ignore_index, label_smoothing):
    """The mean over real tokens of -sum(q * log p), q = (1 - smoothing) * onehot + smoothing / V.

    So the smoothing reaches the right class too, and ignored tokens count in neither sum.
    """
    settings = {"ignore_index": ignore_index, "label_smoothing": label_smoothing}
    loss = F.cross_entropy(logits.flatten(0, -2), targets.flatten(), **settings)

    real = targets != ignore_index
    log_p = torch.log_softmax(logits[real], -1)
    q = (1 - label_smoothing) * F.one_hot(targets[real], logits.shape[-1]) + label_smoothing / logits.shape[-1]
    torch.testing.assert_close(loss, -(q * log_p).sum() / real.sum())
    return loss


def attention(q, k, v, mask=None, *, causal):
    """Query head h reads key/value head h // (H / G)."""
    return F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal, enable_gqa=q.shape[1] != k.shape[1])


def rope(x, positions, *, theta):
    """Rotate the pairs (i, i + K/2) by position * theta^(-2i/K): Llama's rotate_half."""
    K = x.shape[-1]
    angles = positions[..., None] * theta ** (-torch.arange(0, K, 2, dtype=x.dtype) / K)
    angles = torch.cat([angles, angles], -1).reshape(-1, positions.shape[-1], K)  # [B or 1, T, K]

    # transformers makes the angles in float32 whatever the model; ours are the same numbers in float64.
    llama = LlamaConfig(head_dim=K, rope_parameters={"rope_type": "default", "rope_theta": theta})
    cos, sin = LlamaRotaryEmbedding(llama)(x, positions.reshape(-1, positions.shape[-1]))
    torch.testing.assert_close(angles.cos(), cos.to(x.dtype), atol=1e-5, rtol=0)
    torch.testing.assert_close(angles.sin(), sin.to(x.dtype), atol=1e-5, rtol=0)
    return apply_rotary_pos_emb(x, x, angles.cos(), angles.sin())[0]


def make_ops() -> None:
    rng = np.random.default_rng(2)
    arrays: Arrays = {}
    config: dict[str, dict] = {}

    def record(case: str, function: Callable, inputs: Arrays, **settings) -> None:
        """Run one case; every floating-point input gets a gradient."""
        leaves = {name: torch.tensor(value) for name, value in inputs.items()}
        differentiable = {name: leaf for name, leaf in leaves.items() if leaf.is_floating_point()}
        for leaf in differentiable.values():
            assert leaf.dtype == torch.float64
            leaf.requires_grad_()
        out = function(**leaves, **settings)
        dout = float32(rng.normal(size=tuple(out.shape)))
        out.backward(torch.tensor(dout))
        arrays.update({f"{case}.{name}": value for name, value in inputs.items()})
        arrays.update({f"{case}.out": out.detach().numpy(), f"{case}.dout": dout})
        arrays.update({f"{case}.d{name}": leaf.grad.numpy() for name, leaf in differentiable.items()})
        config[case] = settings

    # Normalisation: 3-D with uneven rows; 2-D with a row whose variance (or mean square) is zero, so eps decides.
    def affine(D: int) -> Arrays:
        return {"weight": uneven(rng, D), "bias": uneven(rng, D)}

    flat, zero = uneven(rng, 4, 6), uneven(rng, 4, 6)
    flat[1], zero[2] = 2.5, 0.0
    record("layer_norm", layer_norm, {"x": uneven(rng, 2, 5, 7), **affine(7)}, eps=1e-5)
    record("layer_norm_constant_row", layer_norm, {"x": flat, **affine(6)}, eps=1e-5)
    record("rms_norm", rms_norm, {"x": uneven(rng, 2, 5, 7), "weight": uneven(rng, 7)}, eps=1e-6)
    record("rms_norm_zero_row", rms_norm, {"x": zero, "weight": uneven(rng, 6)}, eps=1e-6)

    # Activations, from the bend near zero to far tails.
    x = np.concatenate([np.linspace(-6, 6, 41), [-100, -30, -12, -9, 9, 12, 30, 100], 3 * rng.normal(size=21)])
    x = float32(x.reshape(2, 5, 7))
    record("gelu_exact", gelu, {"x": x}, approximate="none")
    record("gelu_tanh", gelu, {"x": x}, approximate="tanh")
    record("silu", silu, {"x": x})

    # Softmax: rows with one huge score, one hugely negative score, both, and small differences far from zero.
    scores = uneven(rng, 3, 4, 7)
    scores[0, 1, 2] = scores[1, 0, 3] = 1e4
    scores[2, 0, 0] = scores[1, 0, 5] = -1e4
    scores[0, 3] = float32(scores[0, 3] + 1e4)
    scores[1, 2] = float32(scores[1, 2] - 1e4)
    record("softmax", softmax, {"x": scores})
    record("log_softmax", log_softmax, {"x": scores})

    # Cross-entropy: rows with unequal numbers of real tokens; logits of +-1e4.
    logits, targets = uneven(rng, 3, 5, 7), rng.integers(7, size=(3, 5))
    targets[0, 3:] = targets[2, 1] = IGNORED
    record("cross_entropy", cross_entropy, {"logits": logits, "targets": targets}, ignore_index=-100, label_smoothing=0)
    smoothed = {"ignore_index": IGNORED, "label_smoothing": 0.1}
    record("cross_entropy_smoothed", cross_entropy, {"logits": logits, "targets": targets}, **smoothed)
    large = np.where(rng.random((3, 5, 7)) < 0.3, rng.choice([-1e4, 1e4], (3, 5, 7)), logits)
    record("cross_entropy_large", cross_entropy, {"logits": large, "targets": targets}, **smoothed)

    # Attention: q [B H T K], k [B G S K], v [B G S K], mask [B 1 T S], True = attend.
    def heads(B: int, H: int, G: int, T: int, S: int, K: int) -> Arrays:
        return {"q": uneven(rng, B, H, T, K), "k": uneven(rng, B, G, S, K), "v": uneven(rng, B, G, S, K)}

    mask = rng.random((2, 1, 5, 7)) < 0.5
    mask[..., 2] |= ~mask.any(-1)  # every query sees some key
    record("attention", attention, heads(2, 3, 3, 5, 7, 4), causal=False)
    record("attention_causal", attention, heads(2, 3, 3, 6, 6, 4), causal=True)
    record("attention_mask", attention, {**heads(2, 3, 3, 5, 7, 4), "mask": mask}, causal=False)
    record("attention_grouped", attention, heads(2, 6, 2, 5, 5, 4), causal=True)
    record("attention_grouped_mask", attention, {**heads(2, 6, 2, 5, 7, 4), "mask": mask}, causal=False)
    blind = mask.copy()
    blind[1, 0, 3] = False  # a query that sees nothing: zeros, and no gradient through it
    record("attention_blind_row", attention, {**heads(2, 3, 3, 5, 7, 4), "mask": blind}, causal=False)
    assert not arrays["attention_blind_row.out"][1, :, 3].any()
    assert not arrays["attention_blind_row.dq"][1, :, 3].any()
    extreme = heads(2, 3, 3, 6, 6, 4)
    extreme["k"] = float32(extreme["k"] + 5e3)  # scores around +-1e4 that still differ by O(1) within a row
    record("attention_large_scores", attention, extreme, causal=True)

    # Rotary positions: shared by the batch and not from zero; one row of positions for each sequence (left padding).
    record("rope", rope, {"x": uneven(rng, 2, 3, 5, 8), "positions": np.arange(3, 8)}, theta=10000.0)
    positions = np.array([[0, 0, 0, 1, 2], [40, 41, 42, 43, 44]])
    record("rope_batched", rope, {"x": uneven(rng, 2, 3, 5, 8), "positions": positions}, theta=10000.0)
    save("ops", arrays, config)


# ---- a training curve ------------------------------------------------------------------------------------------------


def synthetic_tokens(rng: np.random.Generator, vocab: int, length: int) -> np.ndarray:
    """A Markov chain: after every token three others are likely, and low ids are commoner than high ones."""
    popularity = np.arange(1, vocab + 1) ** -0.5
    popularity /= popularity.sum()
    chances = np.tile(0.1 * popularity, (vocab, 1))
    for row in chances:
        row[rng.choice(vocab, 3, replace=False, p=popularity)] += [0.5, 0.3, 0.1]
    tokens = [0]
    while len(tokens) < length:
        tokens.append(int(rng.choice(vocab, p=chances[tokens[-1]])))
    return np.array(tokens, np.uint8)


def make_curve() -> None:
    """The recipe of the Tiny Shakespeare comparison, small: see benchmarks and recipes."""
    rng = np.random.default_rng(3)
    model_config = {
        "vocab_size": 65,
        "n_embd": 32,
        "n_head": 2,
        "n_layer": 2,
        "n_positions": 32,
        "n_inner": 128,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
    }
    recipe = {"steps": 40, "batch": 8, "context": 32, "lr": 1e-3, "betas": [0.9, 0.99], "eps": 1e-8}
    recipe |= {"weight_decay": 0.1, "clip": 1.0}
    steps, batch, context = recipe["steps"], recipe["batch"], recipe["context"]
    data = synthetic_tokens(rng, model_config["vocab_size"], 4000)
    offsets = rng.integers(len(data) - context, size=(steps, batch))

    model = make_gpt2_model(model_config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2:
                residual = name.endswith("c_proj.weight")
                std = 0.02 / math.sqrt(2 * model_config["n_layer"]) if residual else 0.02
                weight.copy_(torch.tensor(std * rng.normal(size=tuple(weight.shape))))
            else:
                weight.fill_(0.0 if name.endswith("bias") else 1.0)
    first = saved_weights(model)

    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() == 2], "weight_decay": recipe["weight_decay"]},
        {"params": [p for p in parameters if p.dim() != 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=recipe["lr"], betas=tuple(recipe["betas"]), eps=recipe["eps"])
    losses, norms = [], []
    for at in offsets:
        windows = torch.tensor(data[at[:, None] + np.arange(context + 1)].astype(np.int64))
        logits = model(windows[:, :-1]).logits
        loss = F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, recipe["clip"])  # scales by min(1, clip / (norm + 1e-6))
        optimizer.step()
        losses.append(loss.item())
        norms.append(norm.item())

    arrays = {"data": data, "offsets": offsets}
    arrays |= {"loss": np.array(losses, np.float32), "grad_norm": np.array(norms, np.float32)}
    arrays |= {f"first.{name}": value for name, value in first.items()}
    arrays |= {f"last.{name}": value for name, value in saved_weights(model).items()}
    save("curve", arrays, {"model": model_config, "recipe": recipe})


# ---- optimizers, by hand ---------------------------------------------------------------------------------------------


def adam_by_hand(weight: list, gradients: list, *, lr: float, betas: tuple, eps: float, weight_decay: float) -> list:
    """One number at a time, on Python floats; the weights after every step."""
    w = [list(row) for row in weight]
    m = [[0.0] * len(row) for row in weight]
    v = [[0.0] * len(row) for row in weight]
    history = []
    for step, g in enumerate(gradients, start=1):
        for i in range(len(w)):
            for j in range(len(w[i])):
                w[i][j] -= lr * weight_decay * w[i][j]  # decoupled: never enters m and v
                m[i][j] = betas[0] * m[i][j] + (1 - betas[0]) * g[i][j]
                v[i][j] = betas[1] * v[i][j] + (1 - betas[1]) * g[i][j] * g[i][j]
                m_hat = m[i][j] / (1 - betas[0] ** step)
                v_hat = v[i][j] / (1 - betas[1] ** step)
                w[i][j] -= lr * m_hat / (math.sqrt(v_hat) + eps)
        history.append([list(row) for row in w])
    return history


def sgd_by_hand(weight: list, gradients: list, *, lr: float, momentum: float) -> list:
    w = [list(row) for row in weight]
    velocity = [[0.0] * len(row) for row in weight]
    history = []
    for g in gradients:
        for i in range(len(w)):
            for j in range(len(w[i])):
                velocity[i][j] = momentum * velocity[i][j] + g[i][j]  # not scaled by (1 - momentum), nor by lr
                w[i][j] -= lr * velocity[i][j]
        history.append([list(row) for row in w])
    return history


def with_torch(optimizer_class: type, weight: list, gradients: list, settings: dict) -> np.ndarray:
    parameter = torch.nn.Parameter(torch.tensor(weight, dtype=torch.float64))
    optimizer = optimizer_class([parameter], **settings)
    history = []
    for g in gradients:
        parameter.grad = torch.tensor(g, dtype=torch.float64)
        optimizer.step()
        history.append(parameter.detach().numpy().copy())
    return np.array(history)


def make_adam() -> None:
    weight = [[0.5, -1.25, 2.0], [-0.75, 0.0, 3.5]]
    gradients = [  # one always zero, one so small that eps matters, one that changes sign
        [[0.1, -2.0, 0.0], [1e-8, 0.3, 50.0]],
        [[0.2, 1.5, 0.0], [3e-8, -0.4, 10.0]],
        [[-0.4, 0.5, 0.0], [-2e-8, 0.7, -30.0]],
    ]
    adam = {"lr": 0.1, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.0}
    adamw = {**adam, "weight_decay": 0.1}
    sgd = {"lr": 0.1, "momentum": 0.9}
    arrays = {"weight": np.array(weight), "gradients": np.array(gradients)}
    for name, by_hand, optimizer_class, settings in (
        ("adam", adam_by_hand, torch.optim.Adam, adam),
        ("adamw", adam_by_hand, torch.optim.AdamW, adamw),
        ("sgd", sgd_by_hand, torch.optim.SGD, sgd),
    ):
        ours = np.array(by_hand(weight, gradients, **settings))
        theirs = with_torch(optimizer_class, weight, gradients, settings)
        np.testing.assert_allclose(ours, theirs, rtol=1e-13, atol=1e-15)
        arrays |= {f"{name}.weights": ours, f"{name}.torch": theirs}
    save("adam", arrays, {"adam": adam, "adamw": adamw, "sgd": sgd})


if __name__ == "__main__":
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    make_gpt2()
    make_ops()
    make_curve()
    make_adam()
