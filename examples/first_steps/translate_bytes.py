"""An encoder-decoder on bytes, trained by calling every `backward` by hand. Takes a few seconds.

The loss's `backward` gives dL/dlogits; the model's takes it through all layers, down to the embeddings.
"""

import numpy as np
from threadpoolctl import threadpool_limits

import numformer as nf

threadpool_limits(1, "blas")  # products of this size are faster on one thread
PAIRS = [
    ("good morning", "guten Morgen"),
    ("good night", "gute Nacht"),
    ("thank you", "danke"),
    ("where is the station?", "wo ist der Bahnhof?"),
    ("a coffee, please", "einen Kaffee, bitte"),
    ("see you tomorrow", "bis morgen"),
]
tokenizer = nf.ByteTokenizer()
PAD, BOS, EOS = tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id


def batch_of(texts: list[str], bos: bool = False) -> np.ndarray:
    """Return ids [B T]: every text's bytes with an end, filled up with padding."""
    rows = [[*([BOS] if bos else []), *tokenizer.encode(text), EOS] for text in texts]
    longest = max(map(len, rows))
    return np.array([row + [PAD] * (longest - len(row)) for row in rows])


def new_model(seed: int) -> nf.Transformer:
    """Return an encoder-decoder of two small layers each, with random weights."""
    sizes = {"d_model": 64, "num_heads": 4, "num_encoder_layers": 1, "num_decoder_layers": 1, "d_ff": 128}
    return nf.Transformer(tokenizer.vocab_size, **sizes, max_seq_len=32, dropout=0.0, pad_id=PAD, seed=seed)


def greedy(model: nf.Transformer, text: str, steps: int, show: bool = False) -> str:
    """Append the likeliest byte again and again."""
    source, target = batch_of([text]), np.array([[BOS]])
    for _ in range(steps):
        logits = model(source, target)  # [1 T V]; the last position tells what comes next
        if show:
            print(f"  source {source.shape}  target so far {target.shape}  logits {logits.shape}")
        likeliest = logits.numpy()[:, -1].argmax(axis=-1)
        target = np.concatenate([target, likeliest[:, None]], axis=1)
        if likeliest[0] == EOS:
            break
    return tokenizer.decode(target[0])


source = batch_of([english for english, _ in PAIRS])
target = batch_of([german for _, german in PAIRS], bos=True)
model = new_model(seed=0)
criterion = nf.CrossEntropyLoss(ignore_index=PAD)
optimizer = nf.optim.Adam(model.parameters(), lr=3e-3)
for step in range(1, 81):
    logits = model(source, target[:, :-1])  # at every position, a guess at the byte that follows
    loss = criterion(logits, target[:, 1:])
    dlogits = criterion.backward(1.0)  # dL/dL = 1 -> dL/dlogits [B T V]
    model.backward(dlogits)  # -> dL/dweights, in every parameter's .grad
    optimizer.step()
    optimizer.zero_grad()
    if step % 20 == 0:
        print(f"step {step}  loss {loss.item():.3f}")
model.eval()
for english, german in PAIRS:
    print(f"{english} -> {greedy(model, english, steps=24)}   (taught: {german})")

print("the same loop with random weights:")
greedy(new_model(seed=1).eval(), "good morning", steps=4, show=True)
