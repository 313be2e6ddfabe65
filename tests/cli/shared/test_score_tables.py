"""Scores as tables: figures, classes and confusions, in as many columns as a terminal has."""

import io

import pytest

from numformer.cli.shared.score_tables import print_scores


def shown(scores, width):
    file = io.StringIO()
    print_scores(scores, file, width)
    lines = [line.rstrip() for line in file.getvalue().splitlines()]
    assert all(len(line) <= width for line in lines)
    return lines


def classified(labels, confusion):
    figures = {"precision": 0.5, "recall": 0.25, "f1": 1 / 3, "support": 1200}
    return {"loss": 0.25, "count": 1200, "classes": dict.fromkeys(labels, figures), "confusion": confusion}


def test_figures_classes_and_the_matrix_of_a_classifier():
    assert shown(classified(["good", "bad"], [[1100, 2], [30, 4]]), 50) == [
        "loss   0.2500",
        "count  1,200",
        "",
        "classes  precision  recall     f1  support",
        "good         0.500   0.250  0.333    1,200",
        "bad          0.500   0.250  0.333    1,200",
        "",
        "confusion: gold labels down, predicted ones across",
        "       good  bad",
        "good  1,100    2",
        "bad      30    4",
    ]


def test_long_labels_are_cut_to_the_room_there_is():
    labels = [f"complaint about part {letter}" for letter in "abc"]
    lines = shown(classified(labels, [[1, 2, 3], [4, 5, 6], [7, 8, 9]]), 50)
    assert lines[-4].split() == ["complai…", "complai…", "complai…"] or "…" in lines[-4]
    assert [line.split()[-3:] for line in lines[-3:]] == [["1", "2", "3"], ["4", "5", "6"], ["7", "8", "9"]]


def test_a_matrix_without_room_gives_way_to_the_most_frequent_mistakes():
    labels = [f"label{number}" for number in range(30)]
    counts = [[100 if i == j else 0 for j in range(30)] for i in range(30)]
    counts[3][4], counts[5][6] = 2, 7
    lines = shown(classified(labels, counts), 80)
    assert lines[-4:] == [
        "most frequent mistakes",
        "gold    predicted  times",
        "label5     label6      7",
        "label3     label4      2",
    ]


def test_labels_are_no_markup():
    lines = shown(classified(["[bold]", ":smile:"], [[1, 0], [0, 1]]), 80)
    assert lines[-3].split() == ["[bold]", ":smile:"]


@pytest.mark.parametrize("width", [50, 80, 120])
def test_types_of_entities_are_a_table_too(width):
    figures = {"precision": 0.5, "recall": 0.25, "f1": 1 / 3, "support": 4}
    lines = shown({"f1": 0.5, "perplexity": 12345.678, "signature": "a" * 70, "types": {"PER": figures}}, width)
    assert lines[:2] == ["f1          0.5000", "perplexity  12,345.7"]
    assert "".join("".join(lines[2:-3]).split()[1:]) == "a" * 70
    assert lines[-1].split() == ["PER", "0.500", "0.250", "0.333", "4"]
