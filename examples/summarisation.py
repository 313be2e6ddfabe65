"""Summarisation: reports of a game in many sentences, told again in one. The model learns what matters and copies it.

Shows ROUGE, and a line to compare with: the first words of each report. Takes ten seconds on two cores, needs
`pip install 'numformer[subwords,scores]'`.
"""

import random

import numformer as nf
from numformer.metrics import rouge

TEAMS = "Foxes Bears Hawks Lions Otters Wolves Ravens Sharks"
CHATTER = """It was a cold night. / The crowd sang all the time. / Both sides made changes at half time. / The grass was wet.
    / Nobody left early. / The referee had little to do. / It was their tenth game this year."""
draw = random.Random(0)


def report() -> tuple[str, str]:
    """Return a report and its summary."""
    winner, loser = draw.sample(TEAMS.split(), 2)
    goals = draw.randint(1, 6)
    start = f"The {draw.choice([f'{winner} met the {loser}', f'{loser} met the {winner}'])} on Saturday."
    result = f"In the end the {winner} won by {goals} goal{'s' if goals > 1 else ''}."
    first, second, third, fourth = draw.sample([sentence.strip() for sentence in CHATTER.split("/")], 4)
    return f"{start} {first} {second} {third} {result} {fourth}", f"{winner} beat {loser} by {goals}."


reports = [report() for _ in range(2000)]
shape = {"d_model": 64, "num_encoder_layers": 2, "num_decoder_layers": 2, "max_seq_len": 64, "dropout": 0.0}
summariser = nf.Summariser.from_data(reports, tokenizer="bpe", vocab_size=450, **shape)
summariser.fit(steps=200, batch_size=32, lr=3e-3, eval_every=50, eval_examples=100)

fresh = [report() for _ in range(50)]
print("model      ", summariser.evaluate(fresh))
first_words = [" ".join(document.split()[:5]) for document, _ in fresh]
print("first words", rouge(first_words, [summary for _, summary in fresh]))
document, summary = fresh[0]
print(f"\n{document}\n-> {summariser.summarise([document])[0]}   (expected: {summary})")
