"""Every layer is a Module with the same few methods; out of them, a model that copies or reverses strings.

Takes a few seconds.
"""

from itertools import product

import numpy as np
from threadpoolctl import threadpool_limits

import numformer as nf
from numformer import nn

threadpool_limits(1, "blas")  # products of this size are faster on one thread
rng = np.random.default_rng(0)
x = rng.standard_normal((2, 5, 16), dtype="float32")  # two rows of five vectors: [B T D]

# The same methods everywhere: call forward, pull a gradient back, take the weights out and put them in.
for layer in (
    nn.Linear(16, 32),
    nn.LayerNorm(16),
    nn.Softmax(),
    nn.Dropout(0.5),
    nn.PositionalEncoding(d_model=16, max_len=10),
    nn.FeedForward(16, 32),
    nn.EncoderLayer(16, num_heads=4, d_ff=32),
):
    layer.train()  # dropout drops
    y = layer.forward(x)  # the same as layer(x)
    dx = layer.backward(np.ones(y.shape))  # dL/dy -> dL/dx, and dL/dweights in every .grad
    layer.eval()  # dropout does nothing
    weights = layer.get_parameters()  # arrays by name
    layer.set_parameters({name: 0.5 * value for name, value in weights.items()})
    print(f"{type(layer).__name__:>18}: {x.shape} -> {y.shape}, dL/dx {dx.shape}, {len(weights)} arrays of weights")


class StringModel(nn.Module):
    """Encoder and decoder blocks between embeddings and a projection to the letters, src [B S], tgt [B T] -> [B T V]."""

    def __init__(self, vocab_size: int, d_model: int = 32, num_heads: int = 2, d_ff: int = 64) -> None:
        self.embedding = nn.Embedding(vocab_size, d_model, scaled=True, std=d_model**-0.5, generator=rng)
        self.positions = nn.PositionalEncoding(d_model, max_len=16)
        self.encoder = nn.EncoderLayer(d_model, num_heads, d_ff, generator=rng)
        self.decoder = nn.DecoderLayer(d_model, num_heads, d_ff, generator=rng)
        self.projection = nn.Linear(d_model, vocab_size, generator=rng)

    def forward(self, src: np.ndarray, tgt: np.ndarray) -> nf.Tensor:
        """Score every letter at every position of the target."""
        memory = self.encoder(self.positions(self.embedding(src)))
        return self.projection(self.decoder(self.positions(self.embedding(tgt)), memory))


# All strings of four of the letters a to f in a random order; the last hundred are kept back to see what was learned.
words = rng.permutation(np.array(list(product(range(6), repeat=4))))
train, test = words[:-100], words[-100:]
START = 6  # the number that begins a target
steps, batch_size, rate = 200, 64, 1e-2

for task, answer in (("identity", lambda rows: rows), ("reverse", lambda rows: rows[:, ::-1])):
    model, criterion = StringModel(vocab_size=7), nf.CrossEntropyLoss()
    optimizer = nf.optim.Adam(model.parameters(), lr=rate)
    for step in range(steps):
        optimizer.lr = rate * (1 - step / steps)
        source = train[rng.integers(0, len(train), batch_size)]
        target = np.insert(answer(source), 0, START, axis=1)
        criterion(model(source, target[:, :-1]), target[:, 1:])
        model.backward(criterion.backward(1.0))
        optimizer.step()
        optimizer.zero_grad()

    model.eval()
    written = np.full((len(test), 1), START)
    for _ in range(4):
        probabilities = nn.Softmax()(model(test, written)).numpy()  # [B T V]
        written = np.concatenate([written, probabilities[:, -1:].argmax(axis=-1)], axis=1)
    right = (written[:, 1:] == answer(test)).all(axis=1).mean()
    first, its_answer = ("".join("abcdef_"[i] for i in row) for row in (test[0], written[0, 1:]))
    print(f"{task}: {first} -> {its_answer}, {right:.0%} of {len(test)} new strings are right")
