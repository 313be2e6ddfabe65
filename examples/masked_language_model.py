"""Pretraining and fine-tuning: what an encoder learns from plain text helps it where labels are few.

An encoder reads sentences about a garden, a harbour and a kitchen and learns to guess hidden words, without being told
which place is which. A classifier that starts from it then sees three labelled words of each place, and is asked about
others that it never saw with a label. One that starts from nothing can only guess. Takes fifteen seconds on two cores,
needs `pip install 'numformer[subwords]'`, and writes runs/pretrained.
"""

import random

import numformer as nf

PLACES = {
    "garden": ("the {} grows beside the {} .", "tree rose bush moss worm grass apple bee fern leaf"),
    "harbour": ("a {} drifts near every {} .", "ship buoy rope anchor wave gull mast fish net crab"),
    "kitchen": ("we cook {} with some {} .", "soup rice onion salt peas butter milk sugar pepper bread"),
}
draw = random.Random(0)
frames = [PLACES[place] for place in draw.choices(list(PLACES), k=4000)]
text = "\n".join(frame.format(*draw.sample(words.split(), 2)) for frame, words in frames)


def labelled(words: slice, count: int) -> list[tuple[str, str]]:
    """Return sentences about two things of a place, and the place; their other words tell nothing."""
    places = {place: things.split()[words] for place, (_, things) in PLACES.items()}
    return [("they saw {} and {} .".format(*draw.sample(places[p], 2)), p) for p in places for _ in range(count)]


shape = {"d_model": 64, "num_heads": 4, "num_layers": 2, "max_seq_len": 16, "dropout": 0.0}
mlm = nf.MaskedLanguageModel.from_text(text, tokenizer="bpe", vocab_size=400, **shape)
mlm.fit(steps=700, lr=2e-3, warmup_steps=70, eval_every=100, eval_examples=200, out="runs/pretrained", overwrite=True)
for result in mlm.predict(["a ship drifts near every mast .\na [MASK] drifts near every"], top_k=5):
    print(result["text"].splitlines()[-1], "->", ", ".join(guess["token"].strip() for guess in result["masks"][0]))

few, others = labelled(slice(0, 3), 6), labelled(slice(3, None), 100)
frozen = ("backbone.embeddings", "backbone.layers.0")  # the lower layers keep what they learned
pretrained = nf.Classifier.from_data(few, valid=others, pretrained="runs/pretrained", freeze=frozen)
scratch = nf.Classifier.from_data(few, valid=others, tokenizer="runs/pretrained", **shape)
for name, classifier in {"pretrained": pretrained, "from nothing": scratch}.items():
    classifier.fit(steps=100, batch_size=6, progress=False)
    print(f"{name:<12} accuracy on words that never had a label: {classifier.evaluate()['accuracy']:.2f}")
