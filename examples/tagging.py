"""Tagging: parts of speech of words that were never seen, told by how they end and where they stand.

All words are invented: "The blenkly snarter of Vumo drizened ." The tokenizer for words knows a word by its prefixes,
suffixes, shape and neighbours too, so the endings -ly, -er, -ed and the capital of a name carry over to new words. Takes
a few seconds on two cores.
"""

import random

import numformer as nf
from numformer.data.tagged.conll import TaggedSentence

draw = random.Random(0)
ONSETS = "b bl d dr f g gl k m n p r s sn t v z"


def stem() -> str:
    """Return an invented stem such as "snart" or "vum"."""
    return draw.choice(ONSETS.split()) + draw.choice("aeiou") + draw.choice("mnprtz")


KINDS = {  # how a word of each tag is made
    "DET": lambda: draw.choice(["the", "a", "every"]),
    "ADP": lambda: draw.choice(["of", "near", "under"]),
    "ADJ": lambda: stem() + draw.choice(["ish", "ful", ""]),
    "NOUN": lambda: stem() + draw.choice(["er", "ness", ""]),  # the bare stem may be either: its place decides
    "VERB": lambda: stem() + draw.choice(["ed", "s"]),
    "ADV": lambda: stem() + "ly",
    "NAME": lambda: (stem() + draw.choice("aeo")).capitalize(),
    "END": lambda: draw.choice(".!"),
}
GROUPS = ["DET NOUN", "DET ADJ NOUN", "NAME", "DET NOUN ADP NAME", "DET ADJ NOUN ADP DET NOUN"]


def sentence() -> TaggedSentence:
    """Return a sentence of invented words with their tags."""
    tags = f"{draw.choice(GROUPS)} {draw.choice(['', 'ADV '])}VERB {draw.choice(GROUPS)} END".split()
    first, *rest = (KINDS[tag]() for tag in tags)
    return TaggedSentence([first.capitalize(), *rest], tags)


tagger = nf.Tagger.from_data([sentence() for _ in range(1000)], d_model=48, num_heads=4, num_layers=1, max_seq_len=32)
tagger.fit(steps=200, batch_size=32, lr=2e-3, eval_every=50)

fresh, known = [sentence() for _ in range(300)], set(tagger.tokenizer.vocabulary)
new = [word not in known for each in fresh for word in each.words]
print(f"{sum(new) / len(new):.0%} of {len(new)} words are new, accuracy {tagger.evaluate(fresh)['accuracy']:.3f}")

for found in tagger.predict(["The quoxful flimper of Yuvo gently squigged every wug .", "Wexa zobbed a vorpal jub !"]):
    print(" ".join(f"{word}/{tag}" for word, tag in zip(found["words"], found["tags"], strict=True)))
