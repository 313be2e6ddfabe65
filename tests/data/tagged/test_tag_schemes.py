import pytest

from numformer.data.tagged.tag_schemes import mark_entities, split_tag, tag_scheme


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("B-PER", ("B", "PER")),
        ("L-PER", ("E", "PER")),
        ("U-a-b", ("S", "a-b")),
        ("M", ("I", "entity")),
        ("O", ("O", "")),
        ("NOUN", ("O", "")),
        ("X-PER", ("O", "")),
    ],
)
def test_a_tag_has_a_letter_and_a_type(tag, expected):
    assert split_tag(tag) == expected


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("O B-PER I-PER", True),
        ("O I", True),
        ("O S-LOC", True),
        ("O U-LOC L-LOC", True),
        ("O", False),
        ("B-PER I-PER", False),
        ("O B-PER NOUN", False),
        ("O S U", False),  # may be anything
        ("", False),
    ],
)
def test_tags_mark_entities_where_all_are_letters_with_o_among_them(tags, expected):
    assert mark_entities(tags.split()) is expected


@pytest.mark.parametrize(
    ("sentences", "expected"),
    [
        (["O B-PER I-PER", "B-PER B-PER O"], "BIO"),
        (["B I O"], "BIO"),
        (["O B-PER O"], "BIO"),
        (["I-PER I-PER B-PER O", "I-LOC"], "IOB1"),
        (["I-PER I-PER O"], "IO"),
        (["I-PER O", "B-PER"], "BIO"),  # neither: read leniently
        (["O S-PER"], "IOBES"),
        (["B-PER E-PER O"], "IOBES"),
        (["O U-PER"], "BILOU"),
        (["B-PER M-PER E-PER O"], "BMES"),
        (["NOUN VERB"], None),
        (["O O"], None),
        ([], None),
    ],
)
def test_a_scheme_is_known_by_its_tags(sentences, expected):
    assert tag_scheme(sentence.split() for sentence in sentences) == expected
