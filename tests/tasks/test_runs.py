"""What holds for every task: runs that are continued, chosen from, stopped, saved, loaded and evaluated again."""

import json
import shutil

import numpy as np
import pytest

from numformer import (
    Classifier,
    InputError,
    LanguageModel,
    MaskedLanguageModel,
    QuestionAnswerer,
    Regressor,
    Summariser,
    Tagger,
    Translator,
)
from numformer.data.squad import Question
from numformer.data.tagged.conll import TaggedSentence
from numformer.nn import Dropout, set_recompute
from numformer.nn.stack import Stack
from numformer.tasks import load_task
from numformer.tasks.classification import ClassifyObjective
from numformer.tokenizers import WordTokenizer
from numformer.training import RunFolder, Trainer
from numformer.training.metrics import read_metrics

LAYERS = {"d_model": 16, "num_heads": 2, "dropout": 0.1}
SMALL = LAYERS | {"num_layers": 1, "max_seq_len": 16}
SEQ2SEQ = LAYERS | {"num_encoder_layers": 1, "num_decoder_layers": 1, "max_seq_len": 16, "tokenizer": "characters"}
BYTES = ("model.safetensors", "state/checkpoint.safetensors", "best/model.safetensors", "tokenizer.json", "run.toml")
FAST = {"steps": 8, "batch_size": 6, "shards": 2, "eval_every": 3, "log_every": 1, "progress": False}
ONE = FAST | {"steps": 1, "batch_size": 2}

WORDS = ["red", "two", "cat", "oak", "tea", "sea", "sun", "day"]
TEXT = "the cat sat on the mat.\nthe dog ran to the hat.\n" * 8
TEXTS = [(f"{a} {b}", "xyz"[(i + j) % 3]) for i, a in enumerate(WORDS) for j, b in enumerate(WORDS[:4])]
VALUED = [(text, float(len(text) + 10 * "xyz".index(label))) for text, label in TEXTS]
PAIRS = [(f"{a} {i}", f"{i}{a[::-1]}") for i, a in enumerate(WORDS * 4)]
TAGGED = [TaggedSentence([a, b, c], ["D", "N", "V"]) for a in WORDS for b in WORDS[:3] for c in WORDS[:2]]
ASKED = [
    Question(f"{i}", f"{a} ?", f"{a} is {b} . " * 6, ((b, len(a) + 4),)) for a in WORDS for i, b in enumerate(WORDS[:3])
]
TASKS = {
    "lm": (lambda data=TEXT, **s: LanguageModel.from_text(data, **SMALL | s)),
    "mlm": (lambda data=TEXT, **s: MaskedLanguageModel.from_text(data, **SMALL | s)),
    "seq2seq": (lambda data=PAIRS, **s: Translator.from_data(data, **SEQ2SEQ | {"valid_fraction": 0.2} | s)),
    "summarise": (lambda data=PAIRS, **s: Summariser.from_data(data, **SEQ2SEQ | {"valid_fraction": 0.2} | s)),
    "classify": (lambda data=TEXTS, **s: Classifier.from_data(data, **SMALL | {"valid_fraction": 0.2} | s)),
    "regress": (lambda data=VALUED, **s: Regressor.from_data(data, **SMALL | {"valid_fraction": 0.2} | s)),
    "tag": (lambda data=TAGGED, **s: Tagger.from_data(data, **SMALL | {"valid_fraction": 0.2} | s)),
    "qa": (
        lambda data=ASKED, **s: QuestionAnswerer.from_data(data, **SMALL | {"valid_fraction": 0.3, "stride": 4} | s)
    ),
}
TWO_WORDS, OTHER_ORDER = WordTokenizer(["red", "two"]), WordTokenizer(["two", "red"])
MODELS = [name for name in TASKS if name != "summarise"]  # that one is a Translator in all but name and scores
PREDICT = {
    "lm": lambda task: task.generate("the ", max_new_tokens=20),
    "mlm": lambda task: task.predict(["the c[MASK]t", "[MASK]"]),
    "qa": lambda task: task.predict([(question.question, question.context) for question in ASKED]),
    "tag": lambda task: task.predict([sentence.words for sentence in TAGGED]),
}


def predict(name, task):
    return PREDICT.get(name, lambda task: task.predict([text for text, _ in TEXTS]))(task)


def weights(task):
    return {name: value.copy() for name, value in task.model.state_dict().items()}


def assert_same_weights(one, other):
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.fixture(autouse=True)
def without_pictures(monkeypatch):
    """Drawing takes longer than these runs."""
    monkeypatch.setattr("numformer.tasks.shared.task.draw_curves", lambda lines, path, unit: None)


@pytest.fixture
def files(tmp_path):
    """Write the data of every task to a file."""
    (tmp_path / "lm.txt").write_text(TEXT)
    (tmp_path / "mlm.txt").write_text(TEXT)
    for name in ("seq2seq", "summarise"):
        (tmp_path / f"{name}.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in PAIRS))
    (tmp_path / "classify.csv").write_text("text,label\n" + "".join(f"{a},{b}\n" for a, b in TEXTS))
    (tmp_path / "regress.csv").write_text("text,value\n" + "".join(f"{a},{b}\n" for a, b in VALUED))
    lines = ("".join(f"{w} {t}\n" for w, t in zip(s.words, s.tags, strict=True)) for s in TAGGED)
    (tmp_path / "tag.conll").write_text("\n".join(lines))
    paragraphs = [
        {
            "context": question.context,
            "qas": [
                {
                    "id": str(number),
                    "question": question.question,
                    "answers": [{"text": text, "answer_start": start} for text, start in question.answers],
                }
            ],
        }
        for number, question in enumerate(ASKED)
    ]
    (tmp_path / "qa.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    return {path.stem: path for path in tmp_path.iterdir()}


@pytest.mark.parametrize("name", ["seq2seq", "classify", "regress", "tag", "qa", "mlm"])
def test_a_run_that_dies_between_checkpoints_is_continued_to_the_same_bytes(name, tmp_path, monkeypatch):
    TASKS[name]().fit(out=tmp_path / "whole", **FAST)
    step = Trainer._step

    def dying(self, train_step):
        if self.progression.step == 5:
            raise KeyboardInterrupt
        return step(self, train_step)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", dying)
        with pytest.raises(KeyboardInterrupt):
            TASKS[name]().fit(out=tmp_path / "killed", **FAST)
    assert read_metrics(tmp_path / "killed" / "metrics.jsonl")[-1]["step"] == 5
    result = TASKS[name]().fit(out=tmp_path / "killed", resume=True, **FAST)
    assert result.step == 8
    for file in BYTES:
        assert (tmp_path / "killed" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes(), file
    lines = [read_metrics(tmp_path / run / "metrics.jsonl") for run in ("killed", "whole")]
    for one, other in zip(*lines, strict=True):
        times = {"seconds": 0, "tokens_per_s": 0}
        assert one | times == other | times


@pytest.mark.parametrize("name", MODELS)
def test_a_saved_task_predicts_to_the_bit_what_it_did(name, tmp_path):
    task = TASKS[name]()
    task.fit(**ONE)
    task.save(tmp_path)
    loaded = type(task).load(tmp_path)
    assert predict(name, loaded) == predict(name, task)
    assert_same_weights(weights(loaded), weights(task))


@pytest.mark.parametrize("name", TASKS)
def test_a_run_its_best_and_a_saved_folder_are_opened_as_their_task(name, tmp_path):
    task = TASKS[name]()
    task.fit(out=tmp_path / "run", **ONE)
    task.save(tmp_path / "saved")
    found = predict(name, task)
    opened = load_task(tmp_path / "run")
    assert type(opened) is type(task)
    assert predict(name, opened) == found
    assert type(load_task(tmp_path / "run" / "best")) is type(task)
    assert type(load_task(tmp_path / "saved")) is type(task)


@pytest.mark.parametrize("name", TASKS)
def test_the_held_out_data_of_a_run_are_found_again(name, files, tmp_path):
    task = TASKS[name](files[name])
    result = task.fit(out=tmp_path / "run", **ONE)
    opened = load_task(tmp_path / "run")
    opened.load_held_out(tmp_path / "run")
    scores = opened.evaluate()
    assert scores == task.evaluate()
    if "loss" in scores:
        assert scores["loss"] == pytest.approx(result.val_loss, rel=1e-5)


@pytest.mark.parametrize("name", ["classify", "lm"])
def test_the_data_of_a_run_are_found_from_another_folder(name, files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    TASKS[name](files[name].name).fit(out="run", **ONE)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    opened = load_task("../run/best")
    opened.load_held_out("../run/best")
    assert opened.evaluate()["loss"] > 0


@pytest.mark.parametrize("name", MODELS)
def test_held_out_data_that_have_changed_are_refused(name, files, tmp_path):
    TASKS[name](files[name]).fit(out=tmp_path / "run", **ONE)
    text = files[name].read_text()
    files[name].write_text(text.replace("cat", "dog") if name in ("lm", "mlm") else text.replace("oak", "elm"))
    opened = load_task(tmp_path / "run")
    with pytest.raises(InputError, match="has changed since the run began"):
        opened.load_held_out(tmp_path / "run")


@pytest.mark.parametrize("name", ["classify", "lm"])
def test_a_run_on_a_list_or_a_text_names_no_data_to_evaluate_on(name, tmp_path):
    TASKS[name]().fit(out=tmp_path / "run", **ONE)
    opened = load_task(tmp_path / "run")
    with pytest.raises(InputError, match="names no"):
        opened.load_held_out(tmp_path / "run")


@pytest.mark.parametrize("name", TASKS)
def test_a_loaded_task_has_no_data_to_train_or_be_measured_on(name, tmp_path):
    task = TASKS[name]()
    task.save(tmp_path)
    loaded = type(task).load(tmp_path)
    with pytest.raises(InputError, match=r"this model has no (data|text) to train on: make it with"):
        loaded.fit(progress=False)
    with pytest.raises(InputError, match=r"there (is|are) no held-out"):
        loaded.evaluate()


@pytest.mark.parametrize("name", MODELS)
def test_the_number_of_workers_changes_no_bit(name):
    one, two = TASKS[name](), TASKS[name]()
    one.fit(threads=1, **FAST | {"steps": 3})
    two.fit(threads=2, **FAST | {"steps": 3})
    assert_same_weights(weights(one), weights(two))


@pytest.mark.parametrize("name", MODELS)
def test_recomputation_changes_no_bit_and_storage_in_float16_little(name):
    plain, recomputed, stored = (TASKS[name]() for _ in range(3))
    losses = [
        task.fit(**FAST | {"steps": 3} | settings).loss
        for task, settings in (
            (plain, {}),
            (recomputed, {"recompute": True}),
            (stored, {"precision": "float16-storage"}),
        )
    ]
    assert losses[0] == losses[1]
    assert_same_weights(weights(plain), weights(recomputed))
    assert losses[2] == pytest.approx(losses[0], rel=1e-2)
    assert any(not np.array_equal(value, weights(stored)[name]) for name, value in weights(plain).items())
    assert all(value.dtype == np.float32 for value in weights(stored).values())


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("wanted", [False, True])
def test_fit_switches_recomputation_on_and_leaves_it_as_it_was(monkeypatch, before, wanted):
    task, seen = TASKS["seq2seq"](), []
    stacks = [part for _, part in task.model.named_modules() if isinstance(part, Stack)]
    set_recompute(task.model, before)
    monkeypatch.setattr(Trainer, "run", lambda self: seen.extend(stack.recompute for stack in stacks))
    task.fit(recompute=wanted, **ONE)
    assert seen == [before or wanted] * 2
    assert [stack.recompute for stack in stacks] == [before] * 2


def scripted(monkeypatch, *figures):
    """Let the evaluations of a classifier say these figures, in turn."""
    rest = iter([{"loss": loss, "accuracy": accuracy} for loss, accuracy in figures])
    monkeypatch.setattr(ClassifyObjective, "evaluate", lambda self, workers: next(rest))


def test_the_best_is_that_of_the_highest_accuracy_and_among_equals_of_the_lowest_loss(monkeypatch, tmp_path):
    scripted(monkeypatch, (0.5, 0.4), (0.9, 0.8), (0.7, 0.8), (0.8, 0.8))
    result = TASKS["classify"]().fit(out=tmp_path / "run", **FAST | {"steps": 8, "eval_every": 2})
    assert (result.best_step, result.best) == (6, {"loss": 0.7, "accuracy": 0.8})
    six = TASKS["classify"]()
    scripted(monkeypatch, (0.9, 0.1), (0.8, 0.2), (0.7, 0.3))
    six.fit(**FAST | {"steps": 6, "eval_every": 2, "schedule": "constant"})
    scripted(monkeypatch, (0.5, 0.4), (0.9, 0.8), (0.7, 0.8), (0.8, 0.8))
    longer = TASKS["classify"]()
    longer.fit(out=tmp_path / "constant", **FAST | {"steps": 8, "eval_every": 2, "schedule": "constant"})
    for best in (longer, load_task(tmp_path / "constant"), load_task(tmp_path / "constant" / "best")):
        assert_same_weights(weights(best), weights(six))


@pytest.mark.parametrize("with_folder", [True, False])
def test_training_stops_when_the_accuracy_has_not_risen_for_long(monkeypatch, tmp_path, with_folder):
    scripted(monkeypatch, (0.9, 0.5), (0.5, 0.4), (0.4, 0.4), (0.3, 0.9))
    task = TASKS["classify"]()
    out = {"out": tmp_path / "run"} if with_folder else {}
    settings = FAST | {"steps": 40, "eval_every": 1, "schedule": "constant", "warmup_steps": 1}
    result = task.fit(patience=2, **out, **settings)
    assert (result.stopped, result.step, result.best_step) == ("no improvement", 3, 1)
    scripted(monkeypatch, *[(1.0 - rise, rise) for rise in (0.1, 0.1, 0.2, 0.3)])
    first, third = TASKS["classify"](), TASKS["classify"]()
    first.fit(**settings | {"steps": 1})
    third.fit(**settings | {"steps": 3})
    assert_same_weights(weights(task), weights(first))
    if with_folder:
        assert_same_weights(weights(load_task(tmp_path / "run")), weights(first))
        assert_same_weights(weights(load_task(tmp_path / "run", last=True)), weights(third))


def test_the_settings_of_a_run_come_back_with_it(files, tmp_path):
    task = TASKS["qa"](files["qa"], max_answer_len=2, no_answer=True)
    task.fit(out=tmp_path / "run", **ONE)
    for opened in (
        load_task(tmp_path / "run"),
        load_task(tmp_path / "run" / "best"),
        QuestionAnswerer.load(tmp_path / "run"),
    ):
        assert opened.config == task.config
    assert predict("qa", QuestionAnswerer.load(tmp_path / "run")) == predict("qa", task)


def test_a_saved_model_keeps_its_task_and_its_settings_about_prediction(tmp_path):
    task = TASKS["qa"](max_answer_len=2, no_answer=True)
    task.save(tmp_path / "qa")
    for opened in (load_task(tmp_path / "qa"), QuestionAnswerer.load(tmp_path / "qa")):
        settings = opened.config
        assert (settings.max_answer_len, settings.no_answer, settings.stride) == (2, True, 4)
    assert predict("qa", opened) == predict("qa", task)


@pytest.mark.parametrize(
    ("name", "setting"), [("lm", {"tokenizer": "bytes"}), ("tag", {"tokenizer": "bytes"}), ("qa", {"vocab_size": 99})]
)
def test_a_tokenizer_is_not_chosen_beside_a_pretrained_model(name, setting, tmp_path):
    TASKS[name]().save(tmp_path)
    start = {
        "lm": lambda **s: LanguageModel.from_text(TEXT, **s),
        "tag": lambda **s: Tagger.from_data(TAGGED, **s),
        "qa": lambda **s: QuestionAnswerer.from_data(ASKED, **s),
    }
    with pytest.raises(InputError, match=f"the tokenizer comes from .*: leave out {next(iter(setting))}"):
        start[name](pretrained=str(tmp_path), **setting)


def test_a_run_with_a_damaged_record_is_refused(tmp_path):
    TASKS["qa"]().fit(out=tmp_path / "run", **ONE)
    (tmp_path / "run" / "run.toml").write_text("stride = ")
    with pytest.raises(InputError, match=r"run\.toml cannot be read as TOML"):
        load_task(tmp_path / "run")


def test_a_folder_of_another_task_is_refused(tmp_path):
    TASKS["classify"]().save(tmp_path)
    with pytest.raises(InputError, match="holds a SequenceClassifier, but Tagger needs a TokenClassifier"):
        Tagger.load(tmp_path)
    with pytest.raises(InputError, match="there is no folder"):
        Tagger.load(tmp_path / "nowhere")


def test_a_run_in_use_is_replaced_only_when_asked_for(tmp_path):
    TASKS["classify"]().fit(out=tmp_path / "run", **ONE)
    with pytest.raises(InputError, match="exists: continue it with --resume or replace it"):
        TASKS["classify"]().fit(out=tmp_path / "run", **ONE)
    TASKS["seq2seq"]().fit(out=tmp_path / "run", overwrite=True, **ONE)
    assert type(load_task(tmp_path / "run")) is Translator


@pytest.mark.parametrize("changed", [{"data": TEXTS[:-1]}, {"pooling": "first"}, {"d_model": 8}])
def test_a_run_is_not_continued_as_another_one(changed, tmp_path):
    TASKS["classify"]().fit(out=tmp_path / "run", **ONE)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="cannot resume"):
        TASKS["classify"](**changed).fit(out=tmp_path / "run", resume=True, **ONE)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ({"tokenizer": TWO_WORDS}, {"tokenizer": OTHER_ORDER}, "the tokenizer is not that of the run"),
        ({"vocab_size": 300}, {"vocab_size": 40}, "vocab_size is 40, but the run has 300"),
        ({"label": "label"}, {"label": None}, "label is None, but the run has 'label'"),
    ],
)
def test_a_run_keeps_its_tokens_and_the_settings_it_had(before, after, message, tmp_path):
    TASKS["classify"](**before).fit(out=tmp_path / "run", **ONE)
    kept = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=message):
        TASKS["classify"](**before | after).fit(out=tmp_path / "run", resume=True, **ONE)
    assert {path: path.read_bytes() for path in kept} == kept


def test_a_bound_on_tokens_that_is_taken_away_is_another_run(tmp_path):
    settings = {"steps": 2, "shards": 1, "progress": False}
    TASKS["classify"]().fit(out=tmp_path / "run", batch_tokens=40, **settings)
    with pytest.raises(InputError, match="batch_tokens is None, but the run has 40"):
        TASKS["classify"]().fit(out=tmp_path / "run", resume=True, **settings)


def test_a_new_run_takes_the_place_of_the_settings_that_were_saved_with_an_old_one(tmp_path):
    first = TASKS["qa"](max_answer_len=2)
    first.save(tmp_path / "saved")
    first.fit(out=tmp_path / "run", **ONE)
    with pytest.raises(InputError, match="run is a run, which keeps its own weights: save in another folder"):
        first.save(tmp_path / "run")
    shutil.copy(tmp_path / "saved" / "task.toml", tmp_path / "run")  # as versions before let it be
    assert load_task(tmp_path / "run").config.max_answer_len == 2
    TASKS["qa"](max_answer_len=3).fit(out=tmp_path / "run", overwrite=True, **ONE)
    assert load_task(tmp_path / "run").config.max_answer_len == 3


def test_a_run_is_not_shortened_below_the_steps_it_has(tmp_path):
    TASKS["classify"]().fit(out=tmp_path / "run", **FAST)
    before = (tmp_path / "run" / "run.toml").read_bytes()
    with pytest.raises(InputError, match="run has made 8 steps already and cannot end at steps=5"):
        TASKS["classify"]().fit(out=tmp_path / "run", resume=True, **FAST | {"steps": 5})
    assert (tmp_path / "run" / "run.toml").read_bytes() == before


def test_two_do_not_train_in_one_folder(tmp_path):
    TASKS["classify"]().fit(out=tmp_path / "run", **ONE)
    with (
        RunFolder(tmp_path / "run").locked(),
        pytest.raises(InputError, match="another process is training in"),
    ):
        TASKS["classify"]().fit(out=tmp_path / "run", resume=True, **ONE | {"steps": 2})
    assert TASKS["classify"]().fit(out=tmp_path / "run", resume=True, **ONE | {"steps": 2}).step == 2


@pytest.mark.parametrize("out", ["file", "file/run"])
def test_a_run_in_the_place_of_a_file_is_refused(out, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match=r"could not make the folder|is a file"):
        TASKS["classify"]().fit(out=tmp_path / out, **ONE)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("name", ["mlm", "classify"])
def test_one_part_to_freeze_may_be_a_text(name, tmp_path):
    TASKS[name]().save(tmp_path)
    start, data = (MaskedLanguageModel.from_text, TEXT) if name == "mlm" else (Classifier.from_data, TEXTS)
    task = start(data, pretrained=str(tmp_path), freeze="backbone.embeddings")
    frozen = {key for key, p in task.model.named_parameters() if not p.requires_grad}
    assert frozen
    assert all(key.startswith("backbone.embeddings.") for key in frozen)


@pytest.mark.parametrize("name", ["classify", "tag", "qa", "seq2seq", "mlm"])
def test_a_pretrained_model_may_be_given_another_dropout(name, tmp_path):
    make, data = type(TASKS[name]()), {"mlm": TEXT}.get(name) or TASKS[name]().train_data
    TASKS[name]().save(tmp_path)
    start = make.from_text if name == "mlm" else make.from_data
    kept, changed = start(data, pretrained=tmp_path), start(data, pretrained=tmp_path, dropout=0.35)
    for task, expected in ((kept, 0.1), (changed, 0.35)):
        assert task.model.config.dropout == expected
        assert {m.p for _, m in task.model.named_modules() if isinstance(m, Dropout)} == {expected}


@pytest.mark.parametrize("name", [name for name in TASKS if name != "lm"])
def test_predictions_are_made_for_what_can_be_read_once_too(name):
    task, inputs = TASKS[name](), {"qa": [("red ?", "red is cat")], "mlm": ["c[MASK]t"]}.get(name, ["red two"])
    assert task.predict(iter(inputs)) == task.predict(inputs)
    assert len(task.predict(iter(inputs))) == 1


FROM_SCRATCH = {name: make for name, make in TASKS.items() if name not in ("lm", "mlm", "summarise")}


@pytest.mark.parametrize("name", FROM_SCRATCH)
def test_an_unknown_setting_is_refused_with_those_that_are_known(name):
    with pytest.raises(InputError, match=r"unknown setting d_modle; known are .*d_model.*vocab_size"):
        TASKS[name](d_modle=3)
    with pytest.raises(InputError, match=r"unknown setting stepz; known are accumulation, backend, batch_size"):
        TASKS[name]().fit(stepz=3)


@pytest.mark.parametrize("name", ["lm", "classify", "seq2seq"])
def test_a_setting_goes_by_its_other_words_too(name):
    make, data = (
        (LanguageModel.from_text, TEXT) if name == "lm" else (type(TASKS[name]()).from_data, TASKS[name]().train_data)
    )
    extra = {"tokenizer": "characters"} if name == "seq2seq" else {}
    assert make(data, d_model=16, num_heads=2, max_len=17, **extra).model.config.max_seq_len == 17


@pytest.mark.parametrize("name", FROM_SCRATCH)
def test_a_pretrained_model_brings_its_shape(name, tmp_path):
    TASKS[name]().save(tmp_path)
    with pytest.raises(InputError, match=r"the shape of the model comes from .*: leave out the model's settings"):
        TASKS[name](pretrained=tmp_path)


@pytest.mark.parametrize("name", FROM_SCRATCH)
def test_a_model_that_a_task_cannot_start_from_is_refused(name, tmp_path):
    other = "classify" if name == "seq2seq" else "seq2seq"
    TASKS[other]().save(tmp_path)
    make, data = type(TASKS[name]()), TASKS[name]().train_data
    with pytest.raises(InputError, match=r"holds a \w+; this task starts from a"):
        make.from_data(data, pretrained=tmp_path)
    with pytest.raises(InputError, match="there is no folder"):
        make.from_data(data, pretrained=tmp_path / "nowhere")


@pytest.mark.parametrize("name", FROM_SCRATCH)
def test_a_seed_decides_weights_and_split(name):
    one, same, other = (TASKS[name](seed=seed) for seed in (1, 1, 2))
    assert_same_weights(weights(one), weights(same))
    assert one.valid_data == same.valid_data
    assert one.valid_data != other.valid_data
    assert any(not np.array_equal(a, b) for a, b in zip(weights(one).values(), weights(other).values(), strict=True))
    with pytest.raises(InputError, match="one seed decides both"):
        one.fit(seed=5, progress=False)


@pytest.mark.parametrize("name", FROM_SCRATCH)
def test_held_out_examples_may_be_given_and_are_not_trained_on(name):
    data = TASKS[name](valid_fraction=0.0).train_data
    task = TASKS[name](data[:-4], valid=data[-4:])
    assert (task.train_data, task.valid_data) == (data[:-4], data[-4:])
    assert len(task.objective(task.train_config).valid) >= 4
    assert TASKS[name](valid_fraction=0.0).fit(**ONE).val_loss is None


def test_prediction_leaves_a_model_as_it_was():
    task = TASKS["classify"]()
    task.model.train()
    before = weights(task)
    first, again = (task.predict(["red two"]) for _ in range(2))
    assert first == again, "dropout in prediction"
    assert task.model.training
    assert_same_weights(before, weights(task))
