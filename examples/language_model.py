"""Language modelling: a small GPT learns to write, one character at a time, from the text behind Python's `help()`.

Shows training, sampling at three temperatures, and the scores on held-out text. Takes half a minute on two cores; the text
is kept in the cache folder of `numformer data list`.
"""

import numformer as nf

# Every character of the text is a token; the last tenth of the text is held out.
lm = nf.LanguageModel.from_text("pydoc", d_model=96, num_heads=4, num_layers=2, max_seq_len=64)
lm.fit(steps=600, batch_size=32, lr=4e-3, schedule="cosine", warmup_steps=60, eval_every=100, eval_examples=100)

# The loss is in nats per character; its exponential, the perplexity, is how many characters the model hesitates between.
scores = lm.evaluate(max_windows=100)
print(
    f"held-out loss {scores['loss']:.3f}, perplexity {scores['perplexity']:.2f} (untrained: {lm.tokenizer.vocab_size})"
)

# A low temperature keeps to the likeliest characters, a high one takes risks; the same seed gives the same text.
for temperature in (0.3, 0.7, 1.1):
    text = lm.generate("The statement ", max_new_tokens=150, temperature=temperature, seed=1)
    print(f"\n--- temperature {temperature} ---\nThe statement {text}")
