"""The training loop by hand, as in PyTorch: accumulation, clipping, a schedule, and frozen layers.

A small GPT learns to write from Python's reference text, then goes on with the programs in it alone, its embeddings and
first layer kept as they are. Takes half a minute on two cores.
"""

from pydoc_data.topics import topics

from threadpoolctl import threadpool_limits

import numformer as nf
from numformer.optim import LRScheduler, ScheduleConfig

text = "\n".join(topics[name] for name in sorted(topics))
programs = "\n".join(line.strip() for line in text.splitlines() if line.lstrip().startswith((">>> ", "def ")))
tokenizer = nf.CharacterTokenizer.from_text(text)


def train(model: nf.GPT, text: str, steps: int, lr: float, accumulation: int = 2, length: int = 48) -> None:
    """Update what is not frozen; each update adds up the gradients of `accumulation` batches."""
    ids = tokenizer.encode(text)
    windows = [ids[i : i + length + 1] for i in range(0, len(ids) - length, length // 2)]
    dataset = nf.TensorDataset([w[:-1] for w in windows], [w[1:] for w in windows])
    loader = nf.DataLoader(dataset, batch_size=16, shuffle=True)
    batches = (batch for _ in range(steps) for batch in loader)  # more epochs than needed
    optimizer = nf.optim.AdamW(model.parameters(), lr=lr)
    scheduler = LRScheduler(optimizer, ScheduleConfig(schedule="cosine", warmup_steps=steps // 10), total_steps=steps)
    criterion = nf.CrossEntropyLoss()
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        for _ in range(accumulation):
            inputs, targets = next(batches)
            logits = model(inputs)  # [B T V]
            loss = criterion(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))
            (loss / accumulation).backward()  # adds to the gradients that are there
        norm = nf.optim.clip_grad_norm(model.parameters(), max_norm=1.0)
        optimizer.step()
        scheduler.step()
        if step % 50 == 0:
            print(f"step {step}  loss {loss.item():.3f}  gradient {norm:.2f}  rate {optimizer.lr:.5f}")


model = nf.GPT(vocab_size=tokenizer.vocab_size, d_model=96, num_heads=4, num_layers=2, max_seq_len=64)
with threadpool_limits(1, "blas"):  # products of this size are faster on one thread
    train(model, text, steps=400, lr=4e-3)
    model.freeze("token_embedding", "position_embedding", "layers.0")
    trainable = sum(p.size for p in model.parameters() if p.requires_grad)
    print(f"\n{trainable:,} of {model.num_parameters():,} parameters go on, with programs")
    train(model, programs, steps=200, lr=1e-3)
    ids = model.eval().generate([tokenizer.encode(">>> ")], 80, temperature=0.5, seed=0)[0]
print(tokenizer.decode(ids))
