import pytest

from numformer.data import TaggedSentence, read_conll
from numformer.errors import InputError


def conll(folder, text, **options):
    file = folder / "file.conll"
    file.write_text(text, encoding="utf-8", newline="")
    return read_conll(file, **options)


def row(number, word, upos="NOUN", xpos="NN", misc="_"):
    return f"{number}\t{word}\tlemma\t{upos}\t{xpos}\t_\t0\troot\t_\t{misc}\n"


def test_two_tab_columns_are_words_and_tags(tmp_path):
    text = "\n\nEU\tB-ORG\r\nrejects\tO\r\n\t\r\n \r\n#\tO\n# 1\tO\nx\u2028y\tO"
    assert conll(tmp_path, text) == [
        TaggedSentence(["EU", "rejects"], ["B-ORG", "O"]),
        TaggedSentence(["#", "# 1", "x\u2028y"], ["O", "O", "O"]),
    ]


def test_a_file_may_begin_with_the_word_hash(tmp_path):
    assert conll(tmp_path, "#\tO\nEU\tB\n") == [TaggedSentence(["#", "EU"], ["O", "B"])]


def test_of_more_columns_the_last_is_the_tag_and_document_starts_are_left_out(tmp_path):
    text = "-DOCSTART- -X- O\n\nEU NNP I-NP B-ORG\n. . O O\n\n-DOCSTART- -X- O\n\nPeter NNP I-NP B-PER\n"
    assert conll(tmp_path, text) == [TaggedSentence(["EU", "."], ["B-ORG", "O"]), TaggedSentence(["Peter"], ["B-PER"])]


def test_conllu_gives_universal_tags_of_words_alone(tmp_path):
    text = (
        "# newdoc\n# text = New York's\tx\n"
        + row("1-2", "New York's", "_")
        + row(1, "New York", "PROPN")
        + row(2, "'s", "PART")
        + row("2.1", "empty", "VERB")
        + "\n# text = #\n"
        + row(1, "#", "SYM")
    )
    expected = [TaggedSentence(["New York", "'s"], ["PROPN", "PART"]), TaggedSentence(["#"], ["SYM"])]
    assert conll(tmp_path, text) == conll(tmp_path, text, column="upos") == expected


def test_conllu_gives_the_tags_of_the_language(tmp_path):
    text = row(1, "a", xpos="DT") + row(2, "b", xpos="_")
    assert conll(tmp_path, text, column="xpos") == [TaggedSentence(["a", "b"], ["DT", "_"])]


def test_conllu_gives_entities_and_o_where_there_is_none(tmp_path):
    text = row(1, "a", misc="SpaceAfter=No|NER=B-PER") + row(2, "b", misc="XNER=B-LOC") + row(3, "c", misc="NER=O|X=Y")
    assert conll(tmp_path, text, column="ner") == [TaggedSentence(["a", "b", "c"], ["B-PER", "O", "O"])]


@pytest.mark.parametrize(
    ("column", "message"), [("ner", "has NER= in its last column"), ("xpos", "has a tag in its column XPOS")]
)
def test_a_file_without_tags_in_the_column_is_refused(column, message, tmp_path):
    with pytest.raises(InputError, match=rf"no word of .*file\.conll {message}"):
        conll(tmp_path, row(1, "a", xpos="_"), column=column)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (" \tO", "the word is blank"),
        ("\tO", "the word is blank"),
        ("a\t", "the tag is blank"),
        ("a\u00a0", "got 1 column, expected a word and its tag with a TAB or a space between"),
        ("a\tb\tO", "got 3 columns, expected 2 as in the first row"),
    ],
)
def test_a_bad_row_is_named_with_its_line(line, message, tmp_path):
    with pytest.raises(InputError, match=rf"file\.conll, line 3: {message}"):
        conll(tmp_path, f"x\tO\n\n{line}\n")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (row(1, "a").replace("\t_\t0", "\t0"), "got 9 columns, expected the 10 of CoNLL-U"),
        ("a NOUN", "got 1 column, expected the 10 of CoNLL-U"),
        (row(1, " "), "the word is blank"),
        (row(1, "a", upos=""), "the tag is blank"),
    ],
)
def test_a_bad_conllu_row_is_named_with_its_line(line, message, tmp_path):
    with pytest.raises(InputError, match=rf"file\.conll, line 3: {message}"):
        conll(tmp_path, row(1, "x") + "\n" + line)


@pytest.mark.parametrize("text", ["\n \n", "-DOCSTART- O\n\n", "# a comment\n\n" + row("1-2", "a")])
def test_a_file_without_sentences_is_named(text, tmp_path):
    with pytest.raises(InputError, match=r"file\.conll holds no sentences"):
        conll(tmp_path, text)


def test_a_column_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"has no column 'xpos': it is not CoNLL-U"):
        conll(tmp_path, "a\tO\n", column="xpos")
    with pytest.raises(InputError, match="column must be auto, upos, xpos, ner, got 'lemma'"):
        conll(tmp_path, row(1, "a"), column="lemma")


def test_another_encoding_is_read(tmp_path):
    file = tmp_path / "file.conll"
    file.write_bytes("é\tO".encode("latin-1"))
    assert read_conll(file, encoding="latin-1") == [TaggedSentence(["é"], ["O"])]


def test_entities_may_all_be_o(tmp_path):
    assert conll(tmp_path, row(1, "a", misc="NER=O"), column="ner") == [TaggedSentence(["a"], ["O"])]


@pytest.mark.parametrize(("text", "line"), [("a\tX\n\nb\tZ\n", 3), (row(1, "a", "X") + row(2, "b", "Z"), 2)])
def test_a_tag_that_is_not_known_is_named_with_its_line(text, line, tmp_path):
    with pytest.raises(InputError, match=rf"line {line}: the tag 'Z' is not among the 2 tags of the model \(X, Y\)"):
        conll(tmp_path, text, tags=["X", "Y"])
    assert conll(tmp_path, text, tags=["X", "Z"])
