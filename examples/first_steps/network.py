"""A fully connected network with a choice of activations, losses and first weights; then attention, head by head.

Takes a few seconds.
"""

import math
from itertools import pairwise

import numpy as np

import numformer as nf
from numformer import nn

rng = np.random.default_rng(0)
GAIN = {"he": 2.0, "lecun": 1.0}  # two rules for the variance of the first weights, by the width that comes in


def network(sizes: list[int], activation: type[nn.Module] = nn.ReLU, init: str = "he") -> nn.Sequential:
    """Return linear maps from width to width with an activation between them."""
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise(sizes):
        layers += [nn.Linear(width_in, width_out, std=math.sqrt(GAIN[init] / width_in), generator=rng), activation()]
    return nn.Sequential(*layers[:-1])


# Points of a square; is each inside a circle (1) or not (0), and how far is it from the edge?
points = rng.uniform(-1, 1, (200, 2)).astype(np.float32)
distance = np.hypot(points[:, :1], points[:, 1:]) - 0.7
inside = (distance < 0).astype(int)
for criterion, targets, activation, init in (
    (nn.CrossEntropyLoss(), inside[:, 0], nn.ReLU, "he"),
    (nn.BCEWithLogitsLoss(), inside, nn.SiLU, "he"),
    (nn.L1Loss(), distance, nn.GELU, "he"),
    (nn.MSELoss(), distance, nn.LeakyReLU, "he"),
    (nn.MSELoss(), distance, nn.Tanh, "lecun"),
    (nn.MSELoss(), distance, nn.Sigmoid, "lecun"),
):
    model = network([2, 32, 32, 2 if isinstance(criterion, nn.CrossEntropyLoss) else 1], activation, init)
    optimizer = nf.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(150):
        losses.append(criterion(model(points), targets).item())
        model.backward(criterion.backward(1.0))  # dL/dpredictions, then back through the layers
        optimizer.step()
        optimizer.zero_grad()
    print(f"{type(criterion).__name__} with {activation.__name__}: {losses[0]:.3f} -> {losses[-1]:.3f}")


class Block(nn.Module):
    """x + heads(norm(x)), then x + network(norm(x)): what a Transformer is a stack of, x [B T D] -> [B T D]."""

    def __init__(self, d_model: int, num_heads: int) -> None:
        self.norm1, self.norm2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.heads = nn.MultiHeadAttention(d_model, num_heads, generator=rng)
        self.network = network([d_model, 4 * d_model, d_model], nn.GELU)

    def forward(self, x: nf.Tensor) -> nf.Tensor:
        """Let every position look at the others, then think about what it saw."""
        normed = self.norm1(x)
        seen, _ = self.heads(normed, normed, normed)
        x = x + seen
        return x + self.network(self.norm2(x))


x, dy = rng.standard_normal((2, 2, 5, 16), dtype=np.float32)
for layer in (
    nn.LayerNorm(16),
    nn.MultiHeadAttention(d_model=16, num_heads=1),
    nn.MultiHeadAttention(d_model=16, num_heads=4),
    Block(d_model=16, num_heads=4),
):
    output = layer(x)
    if isinstance(layer, nn.MultiHeadAttention):
        output, weights = output
        print(
            f"{layer.num_heads} heads with weights {weights.shape}, which add up to {weights.numpy()[0, 0, 0].sum():.3f}"
        )
    dx = layer.backward(dy)  # for L = Σ dy · output, the derivative by every number of x
    print(f"{type(layer).__name__}: {x.shape} -> {output.shape} and back, |dL/dx| = {np.linalg.norm(dx):.2f}")
