"""Question answering: the model points at the words of a long text that answer who, where or when.

Every text tells of one meeting among much that is beside the point, and is longer than the model sees at once: it is read in
windows that overlap, and the surest of their answers wins. Takes ten seconds on two cores.
"""

import random

import numformer as nf
from numformer.data.squad import Question

WHO = "Anna Bruno Clara David Emma Felix Grace Henry Irene Jonas"
WHERE = "Athens Berlin Cairo Dublin Geneva Lisbon London Madrid Paris Vienna"
WHEN = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday"
BESIDE = ["The weather was fine.", "Nobody said a word.", "It had been a long year.", "There was tea.", "Time went by."]
ASKED = ("Whom did we meet?", "Where did we meet?", "On which day did we meet?")
draw = random.Random(0)


def question(number: int) -> Question:
    """Return a question about a text of about 80 words."""
    who, where, when = (draw.choice(words.split()) for words in (WHO, WHERE, WHEN))
    meeting = draw.choice([f"On {when} we met {who} in {where}.", f"We saw {who} in {where} last {when}."])
    sentences = draw.choices(BESIDE, k=15)
    sentences.insert(draw.randrange(16), meeting)
    asked, answer = draw.choice(list(zip(ASKED, (who, where, when), strict=True)))
    context = " ".join(sentences)
    return Question(str(number), asked, context, ((answer, context.index(answer)),))


questions = [question(number) for number in range(1500)]
shape = {"d_model": 48, "num_heads": 4, "num_layers": 2, "max_seq_len": 48, "dropout": 0.0}
qa = nf.QuestionAnswerer.from_data(questions, stride=24, max_answer_len=3, vocab_size=500, **shape)
qa.fit(steps=200, batch_size=32, lr=2e-3, eval_every=50, eval_examples=200)
print(qa.evaluate())

context = question(0).context
print(f"\n{context}\n")
for found in qa.predict([(words, context) for words in ASKED]):
    place = f"characters {found['start']} to {found['end']}"
    print(f"{found['question']:<26} {found['answer']} ({place}, probability {found['score']:.2f})")
