import json

import pytest

from numformer import random
from numformer.errors import InputError
from numformer.metrics import entities, entity_scores

TAGS = ["O", "O", "B-PER", "I-PER", "B-LOC", "I-LOC", "I-PER", "B", "I"]


def random_tags(rng, length):
    return rng.choice(TAGS, length).tolist()


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("", []),
        ("O O", []),
        ("B-PER I-PER O B-LOC", [("PER", 0, 2), ("LOC", 3, 4)]),
        ("B-PER B-PER I-PER", [("PER", 0, 1), ("PER", 1, 3)]),
        ("O I-PER I-PER O I-LOC", [("PER", 1, 3), ("LOC", 4, 5)]),
        ("B-PER I-LOC I-LOC", [("PER", 0, 1), ("LOC", 1, 3)]),
        ("B-end-of-list I-end-of-list I-end", [("end-of-list", 0, 2), ("end", 2, 3)]),
        ("B I O", [("entity", 0, 2)]),
        # IOB1: B only where an entity follows one of its type
        ("I-PER I-PER B-PER O I-LOC I-PER", [("PER", 0, 2), ("PER", 2, 3), ("LOC", 4, 5), ("PER", 5, 6)]),
        # IOBES, BILOU, BMES
        ("B-PER I-PER E-PER S-LOC S-LOC O", [("PER", 0, 3), ("LOC", 3, 4), ("LOC", 4, 5)]),
        ("B-PER I-PER L-PER U-LOC U-LOC O", [("PER", 0, 3), ("LOC", 3, 4), ("LOC", 4, 5)]),
        ("B-PER M-PER E-PER B-PER E-PER O", [("PER", 0, 3), ("PER", 3, 5)]),
        ("B I E S O", [("entity", 0, 3), ("entity", 3, 4)]),
        # what no scheme allows
        ("O E-PER E-PER I-PER", [("PER", 1, 2), ("PER", 2, 3), ("PER", 3, 4)]),
        ("B-PER E-LOC O", [("PER", 0, 1), ("LOC", 1, 2)]),
        ("B-PER I-PER O S-PER I-PER", [("PER", 0, 2), ("PER", 3, 4), ("PER", 4, 5)]),
        ("L-PER U-PER L-PER", [("PER", 0, 1), ("PER", 1, 2), ("PER", 2, 3)]),
        ("NOUN Banana", []),
    ],
)
def test_entities_are_types_with_the_slices_of_their_tokens(tags, expected):
    assert entities(tags.split()) == expected


def as_seqeval_reads(tags):
    """Return BILOU and BMES tags as IOBES, which alone seqeval knows in its default mode."""
    return [{"L": "E", "U": "S", "M": "I"}.get(tag[0], tag[0]) + tag[1:] for tag in tags]


def random_tags_of(letters, rng, length):
    tags = ["O", *(f"{letter}-{type_}" for letter in letters for type_ in ("PER", "LOC")), *letters]
    return rng.choice(tags, length).tolist()


@pytest.mark.parametrize("letters", ["BI", "I", "BIES", "BILU", "BMES"])
def test_seqeval_finds_the_same_entities_whatever_the_tags(letters):
    theirs = pytest.importorskip("seqeval.metrics.sequence_labeling")
    rng = random.generator(1)
    for length in range(60):
        tags = random_tags_of(letters, rng, length)
        found = [
            (type_.replace("_", "entity"), i, j + 1) for type_, i, j in theirs.get_entities(as_seqeval_reads(tags))
        ]
        assert entities(tags) == found


GOLDEN = {
    "IOB1": ["O", "I-PER", "I-PER", "B-PER", "O", "I-LOC", "I-ORG"],
    "IOB2": ["O", "B-PER", "I-PER", "B-PER", "O", "B-LOC", "B-ORG"],
    "IOBES": ["O", "B-PER", "E-PER", "S-PER", "O", "S-LOC", "S-ORG"],
    "BILOU": ["O", "B-PER", "L-PER", "U-PER", "O", "U-LOC", "U-ORG"],
}


@pytest.mark.parametrize("scheme", GOLDEN)
def test_a_sentence_has_the_same_entities_in_every_scheme_as_strict_seqeval_says(scheme):
    theirs = pytest.importorskip("seqeval.scheme")
    expected = [("PER", 1, 3), ("PER", 3, 4), ("LOC", 5, 6), ("ORG", 6, 7)]
    assert entities(GOLDEN[scheme]) == expected
    if scheme != "IOB1":  # whose adjacent entities of two types seqeval loses
        found = theirs.Tokens(GOLDEN[scheme], scheme=getattr(theirs, scheme)).entities
        assert [(each.tag, each.start, each.end) for each in found] == expected


@pytest.mark.parametrize("letters", ["BI", "BIES", "BILU"])
def test_the_scores_are_those_of_seqeval(letters):
    theirs = pytest.importorskip("seqeval.metrics")
    rng = random.generator(5)
    gold = [random_tags_of(letters, rng, 15) for _ in range(30)]
    predicted = [[tag if rng.random() < 0.7 else "O" for tag in tags] for tags in gold]
    scores = entity_scores(predicted, gold)
    report = theirs.classification_report(
        *[[as_seqeval_reads(tags) for tags in side] for side in (gold, predicted)], output_dict=True
    )
    for name, row in {"micro avg": scores, **scores["types"]}.items():
        same = report[name.replace("entity", "_")]
        assert (row["precision"], row["recall"], row["f1"]) == pytest.approx(
            (same["precision"], same["recall"], same["f1-score"])
        )
        assert name == "micro avg" or row["support"] == same["support"]
    assert len(scores["types"]) == len(report) - 3


def test_scores_count_whole_entities():
    gold = [["B-PER", "I-PER", "O", "B-LOC"], ["B-PER"]]
    predicted = [["B-PER", "I-PER", "O", "B-PER"], ["O"]]
    scores = entity_scores(predicted, gold)
    types = scores.pop("types")
    assert scores == pytest.approx({"precision": 1 / 2, "recall": 1 / 3, "f1": 2 / 5})
    assert types == {
        "LOC": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1},
        "PER": {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2},
    }


def test_half_an_entity_is_none():
    assert entity_scores([["B-PER", "O"]], [["B-PER", "I-PER"]])["f1"] == 0.0


def test_scores_are_those_of_the_entities_that_are_found():
    rng = random.generator(7)
    gold = [random_tags(rng, 12) for _ in range(30)]
    predicted = [[tag if rng.random() < 0.7 else random_tags(rng, 1)[0] for tag in tags] for tags in gold]
    found = {(number, *entity) for number, tags in enumerate(predicted) for entity in entities(tags)}
    wanted = {(number, *entity) for number, tags in enumerate(gold) for entity in entities(tags)}
    scores = entity_scores(predicted, gold)
    assert scores["precision"] == pytest.approx(len(found & wanted) / len(found))
    assert scores["recall"] == pytest.approx(len(found & wanted) / len(wanted))
    assert set(scores["types"]) == {type_ for _, type_, _, _ in found | wanted}


def test_no_entity_anywhere_scores_zero_without_a_warning():
    assert entity_scores([["O"], []], [["O"], []]) == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "types": {}}


def test_tags_need_not_be_lists_and_scores_can_be_written_as_json():
    scores = entity_scores([("B-PER",)], [("B-PER",)])
    assert json.loads(json.dumps(scores))["types"]["PER"]["support"] == 1


def test_a_sequence_of_another_length_is_named():
    with pytest.raises(InputError, match="sequence 2 has 1 predicted tags for 2 gold tags"):
        entity_scores([["O"], ["O"]], [["O"], ["O", "O"]])


def test_another_number_of_sequences_is_refused():
    with pytest.raises(InputError, match="got 1 predictions for 2 gold sequences"):
        entity_scores([["O"]], [["O"], ["O"]])


def test_nothing_to_score_is_refused():
    with pytest.raises(InputError, match="nothing to score"):
        entity_scores([], [])
