"""Classification: what does somebody ask for? Learned from 48 sentences written by hand.

Shows probabilities, scores of every label on sentences that were held out, and the confusion matrix as a picture. Takes a few
seconds on two cores, needs `pip install 'numformer[plots]'` for the picture, and writes runs/requests.
"""

import numformer as nf

REQUESTS = {
    "weather": """will it rain tomorrow / how cold is it outside / is it going to snow tonight / do I need an umbrella today
        what is the weather like / how warm will it be on Sunday / will the sun shine this weekend / is it windy outside
        tell me the weather for today / will there be a storm tonight / is it raining now / how hot will it be tomorrow""",
    "music": """play some jazz / put on my favourite song / play the next song / turn the music up / stop the music
        I want to hear the piano / play that song again / what is the name of this song / shuffle my songs
        play something quiet / turn the volume down / who sings this song""",
    "alarm": """wake me up at seven / set an alarm for six / wake me in an hour / set a timer for ten minutes
        remind me at noon / cancel my alarm / how long until the alarm / set the alarm ten minutes later
        remind me in an hour to call home / wake me up early / stop the timer / set a timer for an hour""",
    "travel": """when does the train leave / book a ticket to Rome / where is the station / show me flights to Paris
        how do I get to the airport / is my flight late / find a hotel in Rome / when is the next bus to town
        book a hotel for two nights / where does the bus stop / how far is the airport / find a train to Paris""",
}
examples = [
    (sentence.strip(), label)
    for label, sentences in REQUESTS.items()
    for sentence in sentences.replace("\n", "/").split("/")
]

classifier = nf.Classifier.from_data(examples, valid_fraction=0.25, d_model=64, num_heads=4, num_layers=1, dropout=0.3)
classifier.fit(steps=200, batch_size=12, lr=1e-3, eval_every=50, out="runs/requests", overwrite=True)

scores = classifier.evaluate(confusion_matrix="runs/requests/confusion.png")
print(
    f"accuracy {scores['accuracy']:.2f} and macro-F1 {scores['macro_f1']:.2f} on {scores['count']} held-out sentences"
)
for label, row in scores["classes"].items():
    print(f"  {label:<8} precision {row['precision']:.2f}  recall {row['recall']:.2f}  of {row['support']}")

for result in classifier.predict(
    ["is it cold in the garden", "play a song by the sea", "wake me before the train leaves"]
):
    chances = ", ".join(f"{label} {chance:.2f}" for label, chance in result["scores"].items())
    print(f"{result['text']!r}: {result['label']} ({chances})")
