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
        ("B I O", [("_", 0, 2)]),
    ],
)
def test_entities_are_types_with_the_slices_of_their_tokens(tags, expected):
    assert entities(tags.split()) == expected


@pytest.mark.parametrize("seed", range(3))
def test_seqeval_finds_the_same_entities(seed):
    theirs = pytest.importorskip("seqeval.metrics.sequence_labeling")
    rng = random.generator(seed)
    for length in range(60):
        tags = random_tags(rng, length)
        assert entities(tags) == [(type_, start, last + 1) for type_, start, last in theirs.get_entities(tags)]


def test_scores_count_whole_entities():
    pytest.importorskip("seqeval")
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
    pytest.importorskip("seqeval")
    assert entity_scores([["B-PER", "O"]], [["B-PER", "I-PER"]])["f1"] == 0.0


def test_scores_are_those_of_the_entities_that_are_found():
    pytest.importorskip("seqeval")
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
    pytest.importorskip("seqeval")
    assert entity_scores([["O"], []], [["O"], []]) == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "types": {}}


def test_tags_need_not_be_lists_and_scores_can_be_written_as_json():
    pytest.importorskip("seqeval")
    scores = entity_scores([("B-PER",)], [("B-PER",)])
    assert json.loads(json.dumps(scores))["types"]["PER"]["support"] == 1


def test_a_sequence_of_another_length_is_named():
    with pytest.raises(InputError, match="sequence 2 has 1 predicted tag for 2 gold tags"):
        entity_scores([["O"], ["O"]], [["O"], ["O", "O"]])


def test_another_number_of_sequences_is_refused():
    with pytest.raises(InputError, match="got 1 prediction for 2 gold sequences"):
        entity_scores([["O"]], [["O"], ["O"]])


def test_nothing_to_score_is_refused():
    with pytest.raises(InputError, match="nothing to score"):
        entity_scores([], [])
