import pytest

from numformer.data import TaggedSentence, read_conll, read_words
from numformer.data.tagged.column_files import ColumnFile
from numformer.data.tagged.word_ids import count_words
from numformer.errors import InputError


def write(folder, text):
    file = folder / "file.conll"
    file.write_text(text, encoding="utf-8", newline="")
    return file


def conll(folder, text, **options):
    return read_conll(write(folder, text), **options)


def row(number, word, upos="NOUN", xpos="NN", misc="_"):
    return f"{number}\t{word}\tlemma\t{upos}\t{xpos}\t_\t0\troot\t_\t{misc}\n"


# Two columns


def test_two_tab_columns_are_words_and_tags(tmp_path):
    text = "\n\nEU\tB-ORG\r\nrejects\tO\r\n\t\r\n \r\n#\tO\n# 1\tO\nx\u2028y\tO"
    assert conll(tmp_path, text) == [
        TaggedSentence(["EU", "rejects"], ["B-ORG", "O"]),
        TaggedSentence(["#", "# 1", "x\u2028y"], ["O", "O", "O"]),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "New York \t B-LOC\nis\tO\n",
        "New York\tB-LOC\t\nis\tO\n",
        "New York\tB-LOC\t\nis\tO\t\n",
        "New York\tB-LOC \nis\tO\t \n",
    ],
)
def test_blanks_around_fields_and_a_tab_at_the_end_are_no_part_of_them(text, tmp_path):
    assert conll(tmp_path, text) == [TaggedSentence(["New York", "is"], ["B-LOC", "O"])]


@pytest.mark.parametrize("end", ["", " ", "\t", "  "])
def test_columns_may_be_aligned_with_several_blanks(end, tmp_path):
    text = f"EU        NNP   B-ORG{end}\n German   JJ    B-MISC{end}\n.         .     O{end}\n"
    found = conll(tmp_path, text)
    assert found == [TaggedSentence(["EU", "German", "."], ["B-ORG", "B-MISC", "O"])]
    assert found.notes == ["words from column 1, tags from column 3"]


def test_a_no_break_space_is_part_of_a_word(tmp_path):
    assert conll(tmp_path, "5\u00a0000 O\nEuro O\n") == [TaggedSentence(["5\u00a0000", "Euro"], ["O", "O"])]


def test_the_plain_layout_is_reported_without_a_word_about_columns(tmp_path):
    assert conll(tmp_path, "EU\tB-ORG\n\n.\tO\n").report() == "2 sentences"


# More columns (CoNLL-2003 and others)


def test_of_more_columns_the_last_is_the_tag_and_document_starts_end_sentences(tmp_path):
    text = "-DOCSTART- -X- O\n\nEU NNP I-NP B-ORG\n. . O O\n-DOCSTART- -X- O\nPeter NNP I-NP B-PER\n"
    found = conll(tmp_path, text)
    assert found == [TaggedSentence(["EU", "."], ["B-ORG", "O"]), TaggedSentence(["Peter"], ["B-PER"])]
    assert found.notes == ["words from column 1, tags from column 4"]


@pytest.mark.parametrize(("column", "tags"), [(2, ["NNP", "."]), ("3", ["I-NP", "O"]), ("auto", ["B-ORG", "O"])])
def test_the_column_of_the_tags_is_chosen_by_number(column, tags, tmp_path):
    assert conll(tmp_path, "EU NNP I-NP B-ORG\n. . O O\n", column=column) == [TaggedSentence(["EU", "."], tags)]


def test_the_column_of_the_words_is_chosen_by_number(tmp_path):
    assert conll(tmp_path, "x EU B-ORG\ny . O\n", word_column=2) == [TaggedSentence(["EU", "."], ["B-ORG", "O"])]


def test_tags_before_words_are_known_by_their_form(tmp_path):
    found = conll(tmp_path, "O\twho\nO\tplayed\nB-ACTOR\tjames\nI-ACTOR\tdean\n")
    assert found == [TaggedSentence(["who", "played", "james", "dean"], ["O", "O", "B-ACTOR", "I-ACTOR"])]
    assert found.notes == ["words from column 2, tags from column 1"]
    assert read_words(tmp_path / "file.conll") == [["who", "played", "james", "dean"]]


def test_tags_before_several_columns_are_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"column 1 of .* holds tags; say which one holds the words with --word-column"
    ):
        conll(tmp_path, "O\twho\tWP\nB-ACTOR\tjames\tNNP\n")


def test_of_two_columns_the_word_is_the_one_that_is_not_the_tag(tmp_path):
    assert conll(tmp_path, "DT the\nNN dog\n", column="1") == [TaggedSentence(["the", "dog"], ["DT", "NN"])]


def test_a_last_column_that_says_nothing_is_not_the_tag(tmp_path):
    text = "EU B-ORG _\nrejects O _\n"
    assert conll(tmp_path, text) == [TaggedSentence(["EU", "rejects"], ["B-ORG", "O"])]
    text = "EU NNP B-ORG -\nrejects VBZ O -\n"
    assert conll(tmp_path, text) == [TaggedSentence(["EU", "rejects"], ["B-ORG", "O"])]
    with pytest.raises(InputError, match="has no column that is certain to hold tags; choose one with --column"):
        conll(tmp_path, "EU NNP eu -\nrejects VBZ reject -\n")


def test_a_header_names_the_columns_and_is_no_word(tmp_path):
    text = "Token\tPOS\tTag\nEU\tNNP\tB-ORG\n.\t.\tO\n"
    assert conll(tmp_path, text) == [TaggedSentence(["EU", "."], ["B-ORG", "O"])]
    assert conll(tmp_path, text, column="pos") == [TaggedSentence(["EU", "."], ["NNP", "."])]
    turned = "tag\tword\nDT\tthe\n"
    assert conll(tmp_path, turned, column="tag") == [TaggedSentence(["the"], ["DT"])]


def test_a_header_of_other_columns_than_the_rows_is_a_malformed_row(tmp_path):
    with pytest.raises(InputError, match="line 1: got 2 columns, expected 3 with TABs between, as in most rows"):
        conll(tmp_path, "word\ttag\nEU\tNNP\tO\n.\t.\tO\n")
    assert conll(tmp_path, "word\tpos\ttag\t\nEU\tNNP\tB-ORG\n", column="tag")[0].tags == ["B-ORG"]


# What it costs


def test_texts_that_repeat_are_kept_once_and_lines_are_let_go(tmp_path):
    file = write(tmp_path, "".join(f"word{number % 3}\tB-ORG\n\n" for number in range(9)))
    sentences = read_conll(file)
    assert len({id(text) for sentence in sentences for text in [*sentence.words, *sentence.tags]}) == 4
    columns = ColumnFile(file)
    assert len(columns.sentences) == 9
    assert columns._lines == columns._split_lines == []


def test_a_line_is_split_once(tmp_path, monkeypatch):
    split, lines = ColumnFile._split, []
    monkeypatch.setattr(ColumnFile, "_split", lambda self, line: lines.append(line) or split(self, line))
    read_conll(write(tmp_path, "EU NNP O\n. . O\n\nPeter NNP B-PER\n"))
    assert lines == ["EU NNP O", ". . O", "Peter NNP B-PER"]


def test_most_of_the_words_are_never_looked_at_as_ids(monkeypatch):
    monkeypatch.setattr("numformer.data.tagged.word_ids.follow", None)
    assert not count_words(["The", "3", "cats"])


def test_fields_that_are_clean_are_not_looked_at_one_by_one(tmp_path, monkeypatch):
    monkeypatch.setattr("numformer.data.tagged.conll.clean_text", None)
    assert conll(tmp_path, "EU\tB-ORG\n.\tO\n") == [TaggedSentence(["EU", "."], ["B-ORG", "O"])]


@pytest.mark.parametrize(("word", "what"), [("a\0b", "holds a NUL"), ("\xa0", "is blank")])
def test_of_a_sentence_that_is_not_clean_the_line_is_named(word, what, tmp_path):
    with pytest.raises(InputError, match=f"line 2:? ?.*the word {what}"):
        conll(tmp_path, f"EU B-ORG\n{word} O\n. O\n")


def test_other_blanks_than_spaces_and_tabs_are_part_of_a_word(tmp_path):
    assert conll(tmp_path, "a\x0cb O\nc\x1cd O\n")[0].words == ["a\x0cb", "c\x1cd"]


# IDs


GERMEVAL = (
    "#\thttp://de.wikipedia.org/wiki/Manfred [2009-10-17]\n"
    "1\tAufgrund\tO\tO\n2\tManfred\tB-PER\tO\n3\tKorfmann\tI-PER\tB-LOC\n\n"
    "#\thttp://de.wikipedia.org/wiki/Ort [2009-10-17]\n1\tOrt\tO\tO\n"
)
UNIVERSAL_NER = (
    "# sent_id = da-1\n# text = Lars bor i Aarhus .\n"
    "1\tLars\tB-PER\t-\t-\n2\tbor\tO\t-\t-\n3\ti\tO\t-\t-\n4\tAarhus\tB-LOC\t-\t-\n5\t.\tO\t-\t-\n\n"
    "# sent_id = da-2\n# text = # 1\n1\t#\tO\t-\t-\n2\t1\tO\t-\t-\n"
)


def test_a_column_that_counts_is_no_word_and_the_tags_are_those_of_entities(tmp_path):
    found = conll(tmp_path, UNIVERSAL_NER)
    assert found == [
        TaggedSentence(["Lars", "bor", "i", "Aarhus", "."], ["B-PER", "O", "O", "B-LOC", "O"]),
        TaggedSentence(["#", "1"], ["O", "O"]),
    ]
    assert found.report() == "2 sentences; words from column 2, tags from column 3"


def test_of_two_columns_of_entities_none_is_guessed(tmp_path):
    with pytest.raises(InputError, match=r"has tags of entities in column 3 and column 4; choose one with --column"):
        conll(tmp_path, GERMEVAL)
    outer, inner = (conll(tmp_path, GERMEVAL, column=column) for column in ("3", "4"))
    assert outer == [
        TaggedSentence(["Aufgrund", "Manfred", "Korfmann"], ["O", "B-PER", "I-PER"]),
        TaggedSentence(["Ort"], ["O"]),
    ]
    assert [sentence.tags for sentence in inner] == [["O", "O", "B-LOC"], ["O"]]


def test_an_id_that_begins_again_begins_a_sentence(tmp_path):
    found = conll(tmp_path, "1 a O\n2 b O\n1 c B-X\n1-2 de _\n1 d O\n2 e O\n2.1 f _\n")
    assert [sentence.words for sentence in found] == [["a", "b"], ["c"], ["d", "e"]]


def test_ids_may_begin_at_0_or_go_on_in_the_next_sentence(tmp_path):
    assert [s.words for s in conll(tmp_path, "0\ta\tO\n1\tb\tO\n\n0\tc\tB-X\n0\td\tO\n")] == [["a", "b"], ["c"], ["d"]]
    assert [s.words for s in conll(tmp_path, "1\ta\tO\n2\tb\tO\n\n3\tc\tB-X\n4\td\tO\n")] == [["a", "b"], ["c", "d"]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("4 d O", "column 1 counts the words of a sentence, got '4' after 2"),
        ("d O O", "column 1 counts the words of a sentence, got 'd' after 2"),
        ("3 d", "got 2 columns, expected 3 with spaces between, as in most rows"),
    ],
)
def test_a_row_that_does_not_go_on_counting_is_named_and_can_be_left_out(line, message, tmp_path):
    text = f"1 a O\n2 b O\n{line}\n\n1 e B-X\n2 f O\n"
    with pytest.raises(InputError, match=rf"file\.conll, line 3: {message} \(--skip-bad leaves such sentences out\)"):
        conll(tmp_path, text)
    found = conll(tmp_path, text, skip_bad=True)
    assert found == [TaggedSentence(["e", "f"], ["B-X", "O"])]
    assert found.report() == (
        "2 sentences; words from column 2, tags from column 3; 1 left out (1 malformed, first at line 3)"
    )


def test_words_that_count_are_chosen_by_number(tmp_path):
    text = "1\tCD\n2\tCD\n"
    with pytest.raises(InputError, match="has no column that is certain to hold tags"):
        conll(tmp_path, text)
    assert conll(tmp_path, text, word_column=1) == [TaggedSentence(["1", "2"], ["CD", "CD"])]


# Comments


MULTICONER = (
    "# id 7aa69ae4\tdomain=en\nrobert _ _ B-OtherPER\n# _ _ O\n# # _ O\n\n"
    "# id 88ff\tdomain=en\nit _ _ O\n#paris _ _ B-HumanSettlement\n"
)


def test_comments_are_told_from_words_in_a_file_with_spaces(tmp_path):
    found = conll(tmp_path, MULTICONER)
    assert found == [
        TaggedSentence(["robert", "#", "#"], ["B-OtherPER", "O", "O"]),
        TaggedSentence(["it", "#paris"], ["O", "B-HumanSettlement"]),
    ]
    assert found.notes == ["2 comment lines", "words from column 1, tags from column 4"]


def test_hashtags_and_hashes_of_a_file_of_tweets_are_words(tmp_path):
    text = "#hashtag\tO\n#\tO\n@who\tB-person\n\n#\tO\n#1\tO\n"
    assert conll(tmp_path, text) == [
        TaggedSentence(["#hashtag", "#", "@who"], ["O", "O", "B-person"]),
        TaggedSentence(["#", "#1"], ["O", "O"]),
    ]


def test_a_hash_inside_a_sentence_with_a_value_of_its_own_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"line 2: '# remark' may be a comment or a word with its columns"):
        conll(tmp_path, "a X\n# remark\nb X\n")


def test_a_file_may_begin_with_the_word_hash(tmp_path):
    assert conll(tmp_path, "#\tO\nEU\tB\n") == [TaggedSentence(["#", "EU"], ["O", "B"])]
    assert conll(tmp_path, "# #\n5 CD\n") == [TaggedSentence(["#", "5"], ["#", "CD"])]


@pytest.mark.parametrize(
    "comment",
    [
        "# newdoc",
        "# newdoc id = n1",
        "# sent_id = 4",
        "# text = some words",
        "# text = Vitamin O",
        "# speaker = Ann",
        "# id 1a2b\tdomain=en",
        "# a longer remark of some kind",
        "#",
    ],
)
@pytest.mark.parametrize("separator", ["\t", " "])
def test_a_comment_before_a_sentence_is_no_row(comment, separator, tmp_path):
    text = "\n\n".join([f"{comment}\nEU ORG\n. O", f"{comment}\n{comment}\n# O\nx ORG"])
    text = (
        text.replace("EU ORG", f"EU{separator}ORG")
        .replace(". O", f".{separator}O")
        .replace("\n# O", f"\n#{separator}O")
    )
    found = conll(tmp_path, text.replace("x ORG", f"x{separator}ORG") + "\n")
    assert found == [TaggedSentence(["EU", "."], ["ORG", "O"]), TaggedSentence(["#", "x"], ["O", "ORG"])]
    assert found.report() == "2 sentences; 3 comment lines"


@pytest.mark.parametrize(
    "comment", ["# sent_id = 2", "# newdoc", "# newpar id = p2", "# text = b c", "# id 1a2b\tdomain=en"]
)
@pytest.mark.parametrize("separator", ["\t", " "])
def test_a_comment_that_stands_before_sentences_ends_the_one_before(comment, separator, tmp_path):
    found = conll(tmp_path, f"a{separator}O\n{comment}\nb{separator}O\n")
    assert [sentence.words for sentence in found] == [["a"], ["b"]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("EU\tB-ORG\n\n#\thttp://a.b [2009]\nx\tO\n", "'#.*2009]' may be a comment or a word with its columns"),
        ("EU B-ORG\n\n# remark\nx O\n", "'# remark' may be a comment or a word with its columns"),
        ("EU id\n\n# id\nx O\n", "'# id' may be a comment or a word with its columns"),
        ("EU\tB-ORG\n\n# B-ORG\nx\tO\n", "got 1 column, expected 2 with TABs between"),
        ("EU B-ORG\n\n#one two three\nx O\n", "got 3 columns, expected 2 with spaces between"),
    ],
)
def test_a_line_that_may_be_a_comment_or_a_word_is_refused(text, message, tmp_path):
    with pytest.raises(InputError, match=rf"file\.conll, line 3: {message}".replace("[", r"\[")):
        conll(tmp_path, text)


def test_a_remark_inside_a_sentence_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"line 2: got 4 columns, expected 2 with spaces between, as in most rows"):
        conll(tmp_path, "EU B-ORG\n# not a row\nx O\n")


# CoNLL-U


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
    assert conll(tmp_path, text) == conll(tmp_path, text, column="upos") == conll(tmp_path, text, column=4) == expected
    assert conll(tmp_path, text).notes == ["words from column 2 (form), tags from column 4 (upos)"]


def test_conllu_gives_the_tags_of_the_language(tmp_path):
    text = row(1, "a", xpos="DT") + row(2, "b", xpos="_")
    assert conll(tmp_path, text, column="XPOS") == [TaggedSentence(["a", "b"], ["DT", "_"])]


def test_conllu_gives_entities_and_o_where_there_is_none(tmp_path):
    text = row(1, "a", misc="SpaceAfter=No|NER=B-PER") + row(2, "b", misc="XNER=B-LOC") + row(3, "c", misc="NER=O|X=Y")
    assert conll(tmp_path, text, column="ner") == [TaggedSentence(["a", "b", "c"], ["B-PER", "O", "O"])]


def test_conllu_gives_any_of_its_columns_by_name(tmp_path):
    text = row(1, "a") + row(2, "b")
    assert conll(tmp_path, text, word_column="lemma", column="deprel") == [
        TaggedSentence(["lemma", "lemma"], ["root", "root"])
    ]


def test_entities_may_all_be_o(tmp_path):
    assert conll(tmp_path, row(1, "a", misc="NER=O"), column="ner") == [TaggedSentence(["a"], ["O"])]


CONLLU_PLUS = "# global.columns = ID FORM UPOS NER MWE\n1\tEU\tPROPN\tB-ORG\tB-x\n2\truns\tVERB\tO\tO\n"


def test_the_columns_of_conllu_plus_are_called_as_it_says(tmp_path):
    assert conll(tmp_path, CONLLU_PLUS, column="ner") == [TaggedSentence(["EU", "runs"], ["B-ORG", "O"])]
    assert conll(tmp_path, CONLLU_PLUS, column="upos") == [TaggedSentence(["EU", "runs"], ["PROPN", "VERB"])]
    with pytest.raises(InputError, match=r"in column 4 \(ner\) and column 5 \(mwe\); choose one with --column"):
        conll(tmp_path, CONLLU_PLUS)
    turned = "# global.columns = ID UPOS FORM\n1\tPROPN\tEU\n2\tVERB\truns\n"
    assert conll(tmp_path, turned) == [TaggedSentence(["EU", "runs"], ["PROPN", "VERB"])]
    with pytest.raises(InputError, match=r"has 5 columns, but # global\.columns names 4"):
        conll(tmp_path, CONLLU_PLUS.replace(" MWE", ""))


# What is refused


@pytest.mark.parametrize(
    ("column", "message"), [("ner", "has NER= in its last column"), ("xpos", r"has a tag in column 5 \(xpos\)")]
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
        ("a\0\tO", "the word holds a NUL character"),
        ("a\u00a0", "got 1 column, expected 2 with TABs between, as in most rows"),
        ("a\tb\tO", "got 3 columns, expected 2 with TABs between, as in most rows"),
    ],
)
def test_a_bad_row_is_named_with_its_line(line, message, tmp_path):
    with pytest.raises(InputError, match=rf"file\.conll, line 3: {message}"):
        conll(tmp_path, f"x\tO\n\n{line}\n\ny\tO\n")
    assert conll(tmp_path, f"x\tO\n\n{line}\n\ny\tO\n", skip_bad=True).report() == (
        "3 sentences; 1 left out (1 malformed, first at line 3)"
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (row(1, "a").replace("\t_\t0", "\t0"), "got 9 columns, expected 10 with TABs between"),
        ("a NOUN", "got 1 column, expected 10 with TABs between"),
        (row(1, " "), "the word is blank"),
        (row(1, "a", upos=""), "the tag is blank"),
    ],
)
def test_a_bad_conllu_row_is_named_with_its_line(line, message, tmp_path):
    with pytest.raises(InputError, match=rf"file\.conll, line 3: {message}"):
        conll(tmp_path, row(1, "x") + "\n" + line)


def test_one_column_has_no_tags(tmp_path):
    with pytest.raises(InputError, match=r"line 1: got 1 column, expected a word and its tag with a TAB or a space"):
        conll(tmp_path, "a\nb\n")


@pytest.mark.parametrize("text", ["\n \n", "-DOCSTART- O\n\n", "# a comment\n\n" + row("1-2", "a")])
def test_a_file_without_sentences_is_named(text, tmp_path):
    with pytest.raises(InputError, match=r"file\.conll holds no sentences"):
        conll(tmp_path, text)


def test_a_column_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"has no column 'xpos': give the number of one of its 2 columns, which have no"
    ):
        conll(tmp_path, "a\tO\n", column="xpos")
    with pytest.raises(InputError, match=r"has no column 3: give the number of one of its 2 columns"):
        conll(tmp_path, "a\tO\n", word_column=3)
    with pytest.raises(
        InputError, match="has no column 'tag': give the number of one of its 10 columns, called id, form"
    ):
        conll(tmp_path, row(1, "a"), column="tag")
    with pytest.raises(InputError, match=r"cannot both be column 2"):
        conll(tmp_path, "a\tx\tO\n", word_column=2, column=2)


def test_another_encoding_is_read(tmp_path):
    file = tmp_path / "file.conll"
    file.write_bytes("é\tO".encode("latin-1"))
    assert read_conll(file, encoding="latin-1") == [TaggedSentence(["é"], ["O"])]


def test_a_sentence_without_a_word_is_left_out_and_counted(tmp_path):
    found = conll(tmp_path, row(1, "a") + row(2, "b") + "\n" + row("1-2", "ab") + "\n# newdoc\n\n")
    assert found.left_out == {"without a word": 1}
    assert found.rows == 2


# Words alone


@pytest.mark.parametrize(
    ("text", "words", "notes"),
    [
        ("EU\nrejects\n\n#\n#no\n", [["EU", "rejects"], ["#", "#no"]], []),
        ("# text = EU rejects\nEU\nrejects\n# sent_id = 2\nso\n", [["EU", "rejects"], ["so"]], ["2 comment lines"]),
        ("EU\tB-ORG\n.\tO\n", [["EU", "."]], []),
        ("1\tEU\n2\t.\n\n1\tso\n", [["EU", "."], ["so"]], ["words from column 2"]),
        (row(1, "a") + row("2-3", "bc") + row(2, "b") + row(3, "c"), [["a", "b", "c"]], ["words from column 2 (form)"]),
    ],
)
def test_words_are_read_from_files_with_tags_and_without(text, words, notes, tmp_path):
    found = read_words(write(tmp_path, text))
    assert found == words
    assert found.notes == notes


def test_the_column_of_words_alone_is_chosen(tmp_path):
    file = write(tmp_path, row(1, "a"))
    assert read_words(file, word_column="lemma") == [["lemma"]]
    with pytest.raises(InputError, match=r"line 2: got 2 columns, expected 1, as in most rows"):
        read_words(write(tmp_path, "a\nb\tc\nd\n"))
