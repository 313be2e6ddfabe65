"""A small GPT on some lines of Shakespeare, step by step, with everything that the large ones have. Takes a few seconds."""

import tempfile
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

import numformer as nf
from numformer import nn

TEXT = """Shall I compare thee to a summer's day?
Thou art more lovely and more temperate:
Rough winds do shake the darling buds of May,
And summer's lease hath all too short a date;
Sometime too hot the eye of heaven shines,
And often is his gold complexion dimm'd;
And every fair from fair sometime declines,
By chance or nature's changing course untrimm'd;
But thy eternal summer shall not fade,
"""
threadpool_limits(1, "blas")  # products of this size are faster on one thread


class Letters:
    """A tokenizer of one's own: anything that has these three will do."""

    def __init__(self, text: str) -> None:
        self.letters = sorted(set(text))
        self.vocab_size = len(self.letters)

    def encode(self, text: str) -> list[int]:
        """Return the number of every letter."""
        return [self.letters.index(letter) for letter in text]

    def decode(self, ids: np.ndarray) -> str:
        """Return the letters of the numbers."""
        return "".join(self.letters[i] for i in ids)


# Attention by hand: the layer answers with its output and its weights, and its backward takes the output's gradient.
positions, attention = nn.PositionalEncoding(d_model=32, max_len=64), nn.MultiHeadAttention(d_model=32, num_heads=4)
x = positions(np.random.default_rng(0).standard_normal((2, 10, 32), dtype=np.float32)).numpy()
output, weights = attention(x, x, x, nf.ops.causal_mask(10))
dquery, dkey, dvalue = attention.backward(np.ones(output.shape))
print("output", output.shape, "weights", weights.shape, "dL/dquery", dquery.shape)
output, weights = attention(x, need_weights=False)  # faster: the weights are never held all at once
print("without weights:", output.shape, weights)

# Training: windows of the text, each letter's target being the next one.
tokenizer, T = Letters(TEXT), 32
ids = np.array(tokenizer.encode(TEXT))
starts = range(0, len(ids) - T, 8)
inputs = nf.Tensor(np.stack([ids[i : i + T] for i in starts]))
targets = nf.Tensor(np.stack([ids[i + 1 : i + T + 1] for i in starts]))
loader = nf.DataLoader(nf.TensorDataset(inputs, targets), batch_size=8, shuffle=True)
model = nf.GPT(vocab_size=tokenizer.vocab_size, d_model=48, num_heads=4, num_layers=3, max_len=T)
criterion = nf.CrossEntropyLoss()


def train(epochs: int, lr: float, accumulation: int = 2) -> None:
    """Go through the text some times; every update adds up the gradients of some batches."""
    optimizer = nf.optim.AdamW(model.parameters(), lr=lr)
    warm_up = nf.optim.ScheduleConfig(schedule="cosine", warmup_steps=10)
    scheduler = nf.optim.LRScheduler(optimizer, warm_up, total_steps=epochs * (len(loader) // accumulation))
    for epoch in range(1, epochs + 1):
        for number, (x, y) in enumerate(loader, start=1):
            loss = criterion(model(x), y)
            (loss / accumulation).backward()
            if number % accumulation == 0:
                nf.optim.clip_grad_norm(model.parameters(), max_norm=1.0)
                optimizer.step()
                scheduler.step()
                optimizer.zero_grad()
        if epoch % 10 == 0:
            print(f"epoch {epoch}  loss {loss.item():.3f}  rate {optimizer.lr:.5f}")


train(epochs=40, lr=6e-3)
for layer in model.layers[:2]:  # the first two layers stay as they are from here on
    layer.freeze()
train(epochs=10, lr=1e-3)

# Writing on: the prompt as a Tensor, and a result that knows more than the letters.
model.eval()
start = nf.Tensor([tokenizer.encode("Shall I ")])
result = model.generate(start_tokens=start, max_new_tokens=40, temperature=0.5)
print(repr(tokenizer.decode(result[0])), result.numpy().shape, "ended by", result.ended[0])
print("how likely the new letters were:", np.exp(result.log_probabilities[0])[:5].round(2))
language_model = nf.LanguageModel(model, tokenizer)
print(repr(language_model.generate("Thou art ", max_new_tokens=20, temperature=0.5)))

# What the first layer looks at.
x = model.token_embedding(start.numpy()) + model.position_embedding.weight[: start.shape[1]]
x = model.layers[0].residual1.norm(x)
output, weights = model.layers[0].self_attn(x, x, x, nf.ops.causal_mask(x.shape[1]))
with tempfile.TemporaryDirectory() as folder:
    picture = Path(folder) / "heads.png"
    nf.metrics.draw_attention(weights.numpy()[0], "Shall I ", "Shall I ", picture, title="layer 0")
    print("a heat map of", picture.stat().st_size, "bytes")

# An encoder-decoder takes its causal mask as a matrix, if one likes to give it.
translator = nf.Transformer(tokenizer.vocab_size, d_model=32, num_heads=4, num_encoder_layers=1, num_decoder_layers=1)
logits = translator(ids[None, :10], ids[None, :7], tgt_mask=np.tril(np.ones((7, 7), bool)))
print("logits of the encoder-decoder", logits.shape)
