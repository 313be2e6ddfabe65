"""One config, and a model for each kind of task: forward, loss, backward, one step of training. Takes a second."""

import numpy as np

import numformer as nf

config = nf.ModelConfig(vocab_size=100, d_model=32, num_heads=4, d_ff=64, num_layers=2, max_len=16)
rng = np.random.default_rng(0)
B, T, C = 8, 12, 3  # texts in the batch, tokens of each, classes
tokens = rng.integers(1, 100, (B, T))
mask = np.arange(T) < rng.integers(4, T + 1, (B, 1))  # True at tokens, False at padding
criterion = nf.CrossEntropyLoss()


def train_once(name: str, model: nf.nn.Module, inputs: tuple, targets: np.ndarray) -> None:
    """Move the weights one step down the gradient, and print the loss before and after."""
    optimizer = nf.optim.Adam(model.parameters(), lr=1e-3)
    model.eval()  # without dropout, so that the two losses can be compared
    logits = model(*inputs)
    before = criterion(logits, targets)
    before.backward()
    optimizer.step()
    after = criterion(model(*inputs), targets)
    print(f"{name}: logits {logits.shape}, loss {before.item():.4f} -> {after.item():.4f}")
    assert after.item() < before.item()


# A class for a text, from the mean of its tokens' vectors.
model = nf.build_model(config, task="classification", num_classes=C, pooling="mean")
train_once("classification", model, (tokens, mask), rng.integers(0, C, B))

# A class for every token; padding does not count.
model = nf.build_model(config, task="sequence_labeling", num_classes=C)
labels = np.where(mask, rng.integers(0, C, (B, T)), criterion.ignore_index)
train_once("sequence_labeling", model, (tokens, mask), labels)

# A text for a text: an encoder reads one, a decoder writes the other, every token from those before it.
model = nf.build_model(config, task="generation")
target = rng.integers(1, 100, (B, 10))
train_once("generation", model, (tokens, target[:, :-1]), target[:, 1:])

# Where an answer begins and ends: a score for every position as the one and as the other.
model = nf.build_model(config, task="question_answering")
start_and_end = np.sort(rng.integers(0, 4, (B, 2)))
train_once("question_answering", model, (tokens, mask), start_and_end)
