"""The loop that people write themselves, with the names they know."""

import numpy as np

import numformer as nf


def test_the_seed_style_loop_learns(text):
    tokenizer = nf.CharacterTokenizer.from_text(text)
    ids = tokenizer.encode(text).astype(np.int64)
    windows = ids[: len(ids) // 9 * 9].reshape(-1, 9)
    loader = nf.DataLoader(nf.TensorDataset(windows[:, :-1], windows[:, 1:]), batch_size=32, shuffle=True)
    vocab_size = tokenizer.vocab_size
    model = nf.GPT(vocab_size=vocab_size, d_model=32, num_heads=2, num_layers=1, d_ff=64, max_seq_len=8, dropout=0.1)
    optimizer = nf.optim.AdamW(model.parameters(), lr=1e-2)
    scheduler = nf.optim.LRScheduler(
        optimizer, nf.optim.ScheduleConfig(schedule="cosine"), total_steps=10 * len(loader)
    )
    loss_function = nf.CrossEntropyLoss()

    losses = []
    for _ in range(10):
        for inputs, targets in loader:
            loss = loss_function(model(inputs).reshape(-1, vocab_size), targets.reshape(-1))
            optimizer.zero_grad()
            loss.backward()
            nf.optim.clip_grad_norm(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())

    assert losses[0] > 2.5
    assert np.mean(losses[-5:]) < 1.1
    model.eval()
    (continued,) = model.generate(tokenizer.encode("the ")[None], max_new_tokens=40, temperature=0.5)
    words = set(tokenizer.decode(continued)[:-4].split())
    assert words & {"cat", "dog", "owl"}
