"""Translation: an encoder-decoder learns a small piece of French from half of its sentences and translates the other half.

Adjectives stand on the other side of the noun and agree with it, and "not" is said in two places. Shows beam search with
the n best targets, BLEU, and which source word each target word looked at. Takes ten seconds on two cores, needs
`pip install 'numformer[subwords,plots,scores]'`, and writes runs/translation.
"""

from itertools import product

import numformer as nf
from numformer.metrics import draw_attention

WHO = {"she": "elle", "he": "il", "Anna": "Anna", "the girl": "la fille", "the boy": "le garçon"}
DOES = {"see": "voit", "want": "veut", "take": "prend", "draw": "dessine"}
SIZE = {"big": ("grand", "grande"), "small": ("petit", "petite"), "new": ("nouveau", "nouvelle")}
COLOUR = {"black": ("noir", "noire"), "white": ("blanc", "blanche"), "green": ("vert", "verte")}
THING = {"cat": ("chat", 0), "book": ("livre", 0), "boat": ("bateau", 0), "house": ("maison", 1), "car": ("voiture", 1)}

pairs = []
for who, verb, size, colour, thing in product(WHO, DOES, SIZE, COLOUR, THING):
    noun, gender = THING[thing]
    french = f"{SIZE[size][gender]} {noun} {COLOUR[colour][gender]}."
    pairs.append(
        (f"{who} {verb}s a {size} {colour} {thing}.", f"{WHO[who]} {DOES[verb]} {('un', 'une')[gender]} {french}")
    )
    pairs.append((f"{who} does not {verb} a {size} {colour} {thing}.", f"{WHO[who]} ne {DOES[verb]} pas de {french}"))

shape = {"d_model": 64, "num_heads": 4, "num_encoder_layers": 1, "num_decoder_layers": 2, "max_seq_len": 48}
translator = nf.Translator.from_data(pairs, tokenizer="bpe", vocab_size=400, valid_fraction=0.5, **shape)
translator.fit(
    steps=200, batch_size=32, lr=3e-3, eval_every=50, eval_examples=200, out="runs/translation", overwrite=True
)
print(translator.evaluate(max_examples=100))

source, expected = next(pair for pair in translator.valid_data if "the girl does not" in pair[0])
result = translator.predict([source], num_beams=5, num_return=3)[0]
print(f"\n{source}   (expected: {expected})")
for found in [result, *result["alternatives"]]:
    print(f"{found['score']:8.3f}  {found['target']}")

# The last decoder layer's attention to the source, averaged over its heads: row t led to the token after queries[t].
layer, weights, queries, keys = translator.attention(source)[-1]
for word, row in zip([*queries[1:], "<eos>"], weights.mean(axis=0), strict=True):
    print(f"{word.strip():>10}  looked at  {keys[row.argmax()].strip()}")
draw_attention(weights, queries, keys, "runs/translation/attention.png", title=source)
print("all heads: runs/translation/attention.png")
