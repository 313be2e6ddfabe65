"""Regression: what does a piece of furniture cost? Learned from 400 descriptions with prices.

The price follows from the material, the size and the words before them, in ways that add up; a tenth of the descriptions are
held out. Shows predictions in the units of the data, and scores. Takes about ten seconds on two cores.
"""

import random

import numformer as nf

draw = random.Random(0)
THINGS = {"stool": 40, "chair": 80, "shelf": 120, "table": 200, "wardrobe": 400}
MATERIALS = {"pine": 0, "steel": 30, "oak": 60, "walnut": 120}
STATES = {"worn": -30, "used": -15, "new": 0, "restored": 25}
SIZES = {"small": -20, "": 0, "large": 50}


def offer() -> tuple[str, float]:
    """Return a description and its price."""
    choices = [draw.choice(list(each)) for each in (STATES, SIZES, MATERIALS, THINGS)]
    state, size, material, thing = choices
    price = STATES[state] + SIZES[size] + MATERIALS[material] + THINGS[thing] + draw.gauss(0, 5)
    return f"a {' '.join(word for word in choices if word)}", round(price, 2)


offers = [offer() for _ in range(400)]
regressor = nf.Regressor.from_data(offers, d_model=48, num_heads=4, num_layers=1, max_seq_len=16, dropout=0.0)
regressor.fit(steps=300, batch_size=32, lr=3e-3, eval_every=100)

scores = regressor.evaluate()
print(
    f"{scores['count']} held-out offers: off by {scores['mean_squared_error'] ** 0.5:.1f} (the noise in prices is 5),"
)
print(f"  Pearson {scores['pearson']:.3f}, Spearman {scores['spearman']:.3f}")
for found in regressor.predict(["a worn pine stool", "a new large oak table", "a restored walnut wardrobe"]):
    print(f"{found['text']:<28} {found['value']:8.2f}")
