"""Data and settings that no task can be trained with: one sentence, status 2, nothing left behind."""

import json

import pytest

TASKS = ["mlm", "seq2seq", "summarise", "classify", "regress", "tag", "qa"]
PAIRS = [
    ("ragged.tsv", "a\tb\nc\td\te\n", "ragged.tsv, line 2: got 3 columns, expected 2 (source TAB target)"),
    ("one.tsv", "a\tb\nc\n", "one.tsv, line 2: got 1 column, expected 2"),
    ("blank.tsv", "\n \tb\n", "blank.tsv holds no pairs (1 row; 1 left out (1 blank source, first at line 2))"),
    ("nul.tsv", "a\tb\na\0\tb\n", "nul.tsv, line 2: the source holds a NUL character, which is no text (--skip-bad"),
    ("latin.tsv", b"a\tb\ncaf\xe9\tb\n", "latin.tsv, line 2: byte 0xe9 is not utf-8 text; try --encoding cp1252"),
    (
        "wide.tsv",
        "a b\tc\n".encode("utf-16-be"),
        "wide.tsv looks like UTF-16 without a byte order mark; try --encoding",
    ),
    ("empty.tsv", "", "empty.tsv is empty"),
    ("lines.tsv", "\n\n", "lines.tsv holds no pairs"),
    ("single.tsv", "a\tb\n", "holding out a part needs at least 2 groups of examples, got 1"),
    ("cut.jsonl", '{"source": "a", "target": "b"}\n{"source": "a",\n', "cut.jsonl, line 2: not valid JSON"),
    ("list.jsonl", '["a", "b"]\n', "list.jsonl, item 1: expected a JSON object, got text"),
    ("keys.jsonl", '{"src": "a", "target": "b"}\n', "line 1: there is no 'source' (the keys are 'src', 'target')"),
    ("number.jsonl", '{"source": "a", "target": 3}\n', "line 1: the target must be text, got an integer"),
    ("half.jsonl", '{"source": "a", "target": "\\ud800"}\n', "line 1: the target holds half a surrogate pair"),
]
LABELLED = [
    ("ragged.csv", "text,label\na,b\nc\n", "ragged.csv, line 3: got 1 column, expected 2 as in the header"),
    ("shifted.csv", 'text,label\n"a\nb",x\nc,y,z\n', "shifted.csv, line 4: got 3 columns"),
    ("open.csv", 'text,label\na,b\n"open,c\nx,y\n', "open.csv, line 3: the quotation mark opened here is never closed"),
    ("header.csv", "text,label\n", "header.csv holds no labelled texts"),
    ("none.csv", "good film,pos\nbad,neg\n", "line 1: there is no column 'text' for the text (the columns are 'good"),
    ("twice.csv", "text,text\na,b\n", "line 1: the header names the column 'text' more than once"),
    ("blank.csv", "text,label\n ,b\n", "blank.csv holds no labelled texts (1 row; 1 left out (1 blank text, first at"),
    ("glued.csv", 'text,label\n"a,x\nb,y\nc",x\nd,x\n', "glued.csv, line 2: the quotation mark opened here takes"),
    ("latin.csv", b"text,label\ncaf\xe9,a\n", "latin.csv, line 2: byte 0xe9 is not utf-8 text"),
    ("one.csv", "text,label\na,x\nb,x\n", "classification needs at least two labels, got only 'x'"),
    ("float.jsonl", '{"text": "a", "label": 1.5}\n', "line 1: the label must be text or an integer, got a number"),
    ("folder/pos", None, "folder/pos holds no text, expected one in each of its files"),
    ("empty/pos/1.txt", "", "empty holds no labelled texts (1 row; 1 left out (1 blank text, first at empty/pos/"),
    ("bytes/pos/1.txt", b"\xff\xff", "bytes/pos/1.txt, line 1: byte 0xff is not utf-8 text"),
    ("nothing", None, "nothing holds no labelled texts"),
    ("tables/train.csv", "text,label\na,b\n", "tables holds tables, expected texts in a folder or file per label"),
    ("data.xlsx", "PK", "labelled texts come in a .csv, .tsv, .jsonl or .json file or a folder, got data.xlsx"),
]
VALUED = [
    ("word.csv", "text,value\na,1\nb,much\n", "word.csv, line 3: the value must be a finite number, got 'much'"),
    ("nan.csv", "text,value\na,nan\n", "nan.csv, line 2: the value must be a finite number, got 'nan'"),
    ("inf.tsv", "text\tvalue\na\t-inf\n", "inf.tsv, line 2: the value must be a finite number, got '-inf'"),
    ("huge.jsonl", '{"text": "a", "value": 1e999}\n', "line 1: the value must be a finite number, got 'inf'"),
    (
        "blank.csv",
        "text,value\na,\n",
        "blank.csv holds no texts with numbers (1 row; 1 left out (1 blank value, first at",
    ),
    ("bool.jsonl", '{"text": "a", "value": true}\n', "line 1: the value must be a number, got true or false"),
    ("none.csv", "text,price,day\na,1,2\n", "line 1: there is no column 'value' for the value (the columns are 'text'"),
    ("header.csv", "text,value\n", "header.csv holds no texts with numbers"),
    ("prices.txt", "a 1\n", "texts with numbers come in a .csv, .tsv, .jsonl or .json file, got prices.txt"),
]
TAGGED = [
    ("ragged.conll", "a X\nb\n", "ragged.conll, line 2: got 1 column, expected 2 with spaces between"),
    ("ragged2.conll", "a X\nb Y Z\n", "ragged2.conll, line 2: got 3 columns, expected 2 with spaces between"),
    ("blank.conll", "a\tX\n\tY\n", "blank.conll, line 2: the word is blank"),
    ("cut.conllu", "1\ta" + 8 * "\t_" + "\n2\tb\n", "cut.conllu, line 2: got 2 columns, expected 10 with TABs"),
    ("bare.conllu", "1\ta" + 8 * "\t_" + "\n", "no word of bare.conllu has a tag in column 4 (upos)"),
    ("nested.conll", "1 a O O\n2 b O B-X\n", "nested.conll has tags of entities in column 3 and column 4; choose one"),
    ("remark.conll", "a X\nb Y\n\n# remark\nc X\n", "remark.conll, line 4: '# remark' may be a comment or a word"),
    ("empty.conll", "\n\n", "empty.conll holds no sentences"),
    ("latin.conll", b"a X\ncaf\xe9 X\n", "latin.conll, line 2: byte 0xe9 is not utf-8 text"),
]
QUESTIONS = [
    ("list.json", "[3]", "list.json, item 1: expected a JSON object, got an integer"),
    ("data.json", '{"data": []}', "data.json holds no question with an answer in its context"),
    ("cut.json", '{"data":\n[{', "cut.json, line 2: not valid JSON"),
    (
        "no.json",
        '{"data": [{"paragraphs": [{"qas": [{}]}]}]}',
        "no.json, data[0].paragraphs[0].qas[0]: there is no 'con",
    ),
    ("latin.json", b'{"data": "\xe9"}', "latin.json, line 1: byte 0xe9 is not utf-8 text; try --encoding cp1252"),
    ("lines.json", '{"a": 1}\n{"a": 2}\n', "lines.json, line 1: there are no 'paragraphs', 'qas' or 'question'"),
]
DATA = [
    *(("seq2seq", *case) for case in PAIRS),
    *(("classify", *case) for case in LABELLED),
    *(("regress", *case) for case in VALUED),
    *(("tag", *case) for case in TAGGED),
    *(("qa", *case) for case in QUESTIONS),
    (
        "summarise",
        "keys.jsonl",
        '{"source": "a", "target": "b"}\n',
        "line 1: there is no 'document' (the keys are 'source', 'target'); choose another with --source",
    ),
    ("mlm", "latin.txt", b"caf\xe9 au lait\n" * 9, "latin.txt is not UTF-8 text: byte 0xe9 at offset 3"),
    ("mlm", "short.txt", "abc\n", "the training text has 3 tokens, fewer than the 33 that"),
]


@pytest.mark.parametrize(("task", "name", "content", "message"), DATA, ids=lambda value: str(value)[:20])
def test_wrong_data_is_refused_with_its_place(examples, train_task, refused, task, name, content, message):
    file = examples / name
    if content is None:
        file.mkdir(parents=True)
    else:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(lambda: train_task(task, data=name.split("/")[0]), message)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("nowhere.tsv", "nowhere.tsv"),
        ("void.csv", "void.csv is empty"),
        (None, "needs data: --data FILE"),
        ("", "--data FILE"),
    ],
)
def test_missing_data_is_refused(examples, train_task, refused, task, data, message):
    (examples / "void.csv").touch()
    refused(lambda: train_task(task, data=data), message if task != "mlm" else message.replace("data: ", "a text: "))


def test_a_folder_holds_no_texts_with_numbers(train_task, refused):
    refused(
        lambda: train_task("regress", data="reviews"),
        "texts with numbers come in a .csv, .tsv, .jsonl or .json file, got",
    )


@pytest.mark.parametrize("task", ["mlm", "seq2seq", "summarise", "tag", "qa"])
def test_a_folder_is_refused_where_a_file_is_needed(train_task, refused, task):
    refused(lambda: train_task(task, data="reviews"), "could not read reviews: Is a directory")


SETTINGS = [
    ("mlm", {"model__num_heads": 3}, "num_heads=3 does not divide d_model=16"),
    ("mlm", {"model__vocab_size": 5}, "vocab_size=5 is below the 28 tokens of the tokenizer"),
    ("mlm", {"tokenizer": "words"}, "the tokenizer words loses the spaces of a text"),
    ("mlm", {"freeze": "encoder"}, "no parameter of MaskedLM is named 'encoder' or lies under it"),
    ("mlm", {"valid": "nowhere.txt"}, "there is no file nowhere.txt"),
    ("seq2seq", {"model__num_heads": 3}, "num_heads=3 does not divide d_model=16"),
    ("seq2seq", {"vocab_size": 10}, "got vocab_size=10, but a bpe tokenizer of these texts needs at least 261"),
    ("seq2seq", {"tokenizer": "nothing"}, "got the tokenizer 'nothing', expected characters, bytes, bpe, wordpiece"),
    ("seq2seq", {"tokenizer": "reviews"}, "could not read the tokenizer reviews/tokenizer.json"),
    ("seq2seq", {"train__batch_tokens": 5}, "batch_tokens=5 is less than the longest example, of "),
    ("seq2seq", {"model__max_seq_len": 2}, "every target is longer than max_seq_len=2 tokens"),
    ("seq2seq", {"valid": "text.txt"}, "text.txt, line 1: got 1 column, expected 2"),
    ("seq2seq", {"valid_fraction": 1}, "the held-out fraction must be at least 0 and less than 1, got 1.0"),
    (
        "seq2seq",
        {"data": "toy:nothing"},
        "there is no toy task 'nothing' (known are identity, reverse, sort, addition)",
    ),
    ("seq2seq", {"data": "toy:addition", "toy_examples": 10**7}, "addition has at most 500000 pairs to give"),
    ("seq2seq", {"encoding": "klingon"}, "there is no text encoding 'klingon'; usual ones are utf-8"),
    ("seq2seq", {"freeze": "nothing"}, "no parameter of Transformer is named 'nothing' or lies under it"),
    ("summarise", {"source": "text", "data": "news.jsonl"}, "there is no 'text' (the keys are 'document', 'summary')"),
    ("classify", {"vocab_size": 5}, "got vocab_size=5, expected more than 5 special tokens and 2 buckets"),
    ("classify", {"model__vocab_size": 3}, "vocab_size=3 is below the"),
    ("classify", {"train__batch_tokens": 3}, "batch_tokens=3 is less than the longest example, of "),
    ("classify", {"pooling": "max"}, "invalid choice 'max' for argument '--pooling'"),
    ("classify", {"text": "body"}, "line 1: there is no column 'body' for the text (the columns are 'text', 'label')"),
    ("classify", {"text": "label"}, "the text and the label cannot both be the column 'label'"),
    (
        "classify",
        {"valid": "strange.csv"},
        "none of the labels is known to the model: it has 2: neg, pos, and the data 'odd' (1), 'strange' (1)",
    ),
    ("classify", {"freeze": "backbone.pooler"}, "no parameter of SequenceClassifier is named 'backbone.pooler'"),
    ("regress", {"train__label_smoothing": 0.1}, "label_smoothing=0.1 is for labels; regression has numbers"),
    ("regress", {"value": "text"}, "the text and the value cannot both be the column 'text'"),
    ("regress", {"model__num_heads": 3}, "num_heads=3 does not divide d_model=16"),
    ("tag", {"column": "upos"}, "ner.conll has no column 'upos': give the number of one of its 2 columns"),
    ("tag", {"column": "tag", "data": "ud.conllu"}, "ud.conllu has no column 'tag': give the number of one of its 10"),
    ("tag", {"word_column": 3}, "ner.conll has no column '3': give the number of one of its 2 columns"),
    ("tag", {"word_column": 1, "column": 1}, "the words and the tags of ner.conll cannot both be column 1"),
    ("tag", {"valid": "ud.conllu"}, "none of the tags is known to the model: it has 2: B-PER, O, and the data 'PROPN'"),
    ("qa", {"stride": 0}, "stride must be at least 1, got 0"),
    ("qa", {"max_answer_len": 0}, "max_answer_len must be at least 1, got 0"),
    ("qa", {"model__max_seq_len": 2}, "max_seq_len=2 leaves no room for a context"),
    ("qa", {"train__batch_tokens": 3}, "batch_tokens=3 is less than the longest example, of "),
    ("qa", {"out": "text.txt"}, "text.txt is a file; a run needs a folder of its own"),
    ("tag", {"out": "reviews"}, "reviews exists and is not a run folder; choose another --out"),
    ("tag", {"config": "reviews"}, "reviews cannot be read as TOML"),
    ("tag", {"config": "qa.toml"}, "qa.toml is for the task 'qa', not tag"),
    ("tag", {"config": "freeze.toml"}, "no parameter of TokenClassifier is named 'bert' or lies under it"),
    ("tag", {"config": "names.toml"}, "names.toml: freeze must be str, got 3"),
    (
        "tag",
        {"config": "table.toml"},
        "table.toml: unknown setting data_config; known are column, config, coordinator, data,",
    ),
]


@pytest.mark.parametrize(("task", "options", "message"), SETTINGS, ids=lambda value: str(value)[:40])
def test_wrong_settings_are_refused(settings_files, train_task, refused, task, options, message):
    words = ["--no-answer"] if task == "qa" else []  # without a note about questions that are left out
    refused(lambda: train_task(task, *words, **options), message)


@pytest.fixture
def settings_files(examples):
    (examples / "strange.csv").write_text("text,label\nhello,odd\nbye,strange\n")
    (examples / "qa.toml").write_text('task = "qa"\n')
    (examples / "freeze.toml").write_text('freeze = "bert"\n')
    (examples / "names.toml").write_text("freeze = [3]\n")
    (examples / "table.toml").write_text("[data_config]\nx = 1\n")


def test_overwrite_destroys_nothing_when_the_input_is_wrong(settings_files, train_task, refused):
    assert train_task("classify").status == 0
    for task, options, message in SETTINGS:
        if task == "classify":
            refused(lambda options=options: train_task("classify", "--overwrite", **options), message)


def test_a_file_of_questions_without_an_answer_is_refused_with_their_number(examples, train_task):
    squad = json.loads((examples / "squad.json").read_text())
    for paragraph in squad["data"][0]["paragraphs"]:
        del paragraph["qas"][0]
    (examples / "squad.json").write_text(json.dumps(squad))
    result = train_task("qa")
    assert (result.status, result.out) == (2, "")
    assert result.err == (
        "numformer: squad.json holds no question with an answer (24 questions; 24 left out "
        "(24 without an answer, while no_answer is off, first at data[0].paragraphs[0].qas[0]))\n"
    )
    assert not (examples / "run").exists()
    assert train_task("qa", "--no-answer").status == 0


@pytest.mark.parametrize("task", TASKS)
def test_a_broken_option_is_refused(examples, train_task, refused, task):
    refused(lambda: train_task(task, model__d_modell=3), "did you mean --model.d-model?")


def test_ctrl_c_while_data_is_read_leaves_nothing(examples, train_task, snapshot, monkeypatch):
    def interrupt(*words, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("numformer.tasks.classification.read_labelled", interrupt)
    before = snapshot(examples)
    assert train_task("classify").status == 130
    assert snapshot(examples) == before
