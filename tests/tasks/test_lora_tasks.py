"""Every task trains adapters of a pretrained model: what the run keeps, how it goes on, and what it answers."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

import numformer as nf
from numformer import ByteTokenizer, InputError
from numformer.cli.main import main
from numformer.data.squad import Question
from numformer.data.tagged.conll import TaggedSentence
from numformer.pretrained import NO_ADAPTERS, LoRAConfig, adapter_of

SHAPE = {"d_model": 16, "num_heads": 2, "num_layers": 2, "max_seq_len": 24}
LORA = LoRAConfig(rank=2, alpha=8.0, dropout=0.1)
FIT = {"steps": 6, "batch_size": 4, "shards": 2, "eval_every": 3, "lr": 1e-2, "progress": False}
NAMES = ("Ann", "Ben", "Cleo", "Dora", "Emil", "Finn", "Gus", "Hal")
TEXT = "".join(f"{name} likes tea.\n" for name in NAMES * 6)
EXAMPLES = {
    "classify": [(f"{name} likes {what}", what) for name in NAMES for what in ("tea", "rice")],
    "regress": [(f"{name} has {number}", float(number)) for name in NAMES for number in (1, 2, 5)],
    "tag": [TaggedSentence([name, "sat"], ["B-PER", "O"]) for name in NAMES],
    "qa": [Question(name, "Who?", f"{name} sat.", ((name, 0),)) for name in NAMES],
    "seq2seq": [(name, name[::-1]) for name in NAMES],
}
ASKED = {
    "classify": ["Ann likes tea"],
    "regress": ["Ann has 1"],
    "tag": ["Ann sat"],
    "qa": [("Who?", "Ann sat.")],
    "seq2seq": ["Ann"],
    "mlm": ["Ann lik[MASK]s tea."],
}
HEADS = {"classify": {"head", "backbone.pooler"}, "regress": {"head"}, "tag": {"head"}, "qa": {"head"}}
TASKS = {
    "classify": nf.Classifier,
    "regress": nf.Regressor,
    "tag": nf.Tagger,
    "qa": nf.QuestionAnswerer,
    "seq2seq": nf.Translator,
}
ALL = [*TASKS, "mlm"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    nf.MaskedLanguageModel.from_text(TEXT, tokenizer=ByteTokenizer(), **SHAPE).save(folder)
    return folder


@pytest.fixture(scope="module")
def translator(tmp_path_factory):
    folder = tmp_path_factory.mktemp("translator")
    sizes = {"d_model": 16, "num_heads": 2, "num_encoder_layers": 1, "num_decoder_layers": 1, "d_ff": 32}
    nf.Translator.from_data(EXAMPLES["seq2seq"], tokenizer=ByteTokenizer(), **sizes).save(folder)
    return folder


@pytest.fixture
def make(encoder, translator):
    """Return what makes a task from its pretrained model, and where that lies."""

    def made(task, **settings):
        settings = {"lora": LORA, "valid_fraction": 0.25} | settings
        if task == "mlm":
            return nf.MaskedLanguageModel.from_text(TEXT, pretrained=encoder, **settings), encoder
        base = translator if task == "seq2seq" else encoder
        if task == "classify":
            settings |= {"pooling": "first"}
        return TASKS[task].from_data(EXAMPLES[task], pretrained=base, **settings), base

    return made


def answers(task, name):
    settings = {"max_new_tokens": 4, "num_beams": 1} if name == "seq2seq" else {}
    return task.predict(ASKED[name], **settings)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", ALL)
def test_the_base_stays_and_what_changes_alone_is_kept(name, make, tmp_path):
    task, base = make(name)
    before, weights = contents(base), {key: p.data.copy() for key, p in task.model.named_parameters()}
    task.fit(**FIT, out=tmp_path / "run")
    assert contents(base) == before
    changed = {key for key, p in task.model.named_parameters() if not np.array_equal(p.data, weights[key])}
    stored = load_file(tmp_path / "run" / "state" / "checkpoint.safetensors")
    kept = {key.removeprefix("model.") for key in stored if key.startswith("model.")}
    assert changed <= kept
    assert {key.rpartition(".")[0] for key in kept if "lora_" not in key} == HEADS.get(name, set())
    assert not (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.parametrize("name", ALL)
def test_a_loaded_run_answers_and_measures_as_the_task_that_trained_it(name, make, tmp_path):
    task, base = make(name)
    task.fit(**FIT, out=tmp_path / "run")
    loaded = nf.load(tmp_path / "run")
    assert adapter_of(loaded.model).base == str(base)
    assert answers(loaded, name) == answers(task, name)
    assert loaded.details()["adapters"].startswith("of rank 2 on ")
    assert nf.load(tmp_path / "run", last=True).name == name


@pytest.mark.parametrize("name", ["classify", "qa", "mlm", "seq2seq"])
def test_a_run_that_stopped_goes_on_to_the_same_bytes(name, make, tmp_path):
    make(name)[0].fit(**FIT, out=tmp_path / "whole")
    make(name)[0].fit(**FIT, out=tmp_path / "stopped", on_step=lambda line: line["step"] == 4)
    make(name)[0].fit(**FIT, out=tmp_path / "stopped", resume=True)
    for file in ("adapter_model.safetensors", "best/adapter_model.safetensors", "state/checkpoint.safetensors"):
        assert (tmp_path / "stopped" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes(), file


@pytest.mark.parametrize("name", ALL)
def test_merged_it_needs_the_base_no_more(name, make, tmp_path):
    make(name)[0].fit(**FIT, out=tmp_path / "run")
    assert main(["merge", str(tmp_path / "run"), str(tmp_path / "merged")]) == 0
    merged, run = nf.load(tmp_path / "merged"), nf.load(tmp_path / "run")
    assert merged.name == name
    assert adapter_of(merged.model) is None
    tokens = np.array([[72, 73, 74]])
    inputs = (tokens, tokens) if name == "seq2seq" else (tokens,)
    np.testing.assert_allclose(merged.model(*inputs).data, run.model(*inputs).data, atol=1e-5)


def test_training_adapters_and_a_head_learns(make):
    task, _ = make("classify", valid_fraction=0.0)
    task.fit(**FIT | {"steps": 60, "lr": 3e-2, "batch_size": 16})
    assert task.evaluate(EXAMPLES["classify"])["accuracy"] > 0.9


def test_a_classifier_goes_on_with_its_own_head(make, tmp_path):
    make("classify", lora=NO_ADAPTERS)[0].fit(**FIT, out=tmp_path / "full")
    task = nf.Classifier.from_data(EXAMPLES["classify"], pretrained=tmp_path / "full", pooling="first", lora=LORA)
    before = answers(nf.load(tmp_path / "full"), "classify")
    for mine, theirs in zip(answers(task, "classify"), before, strict=True):
        assert mine["scores"] == pytest.approx(theirs["scores"], abs=1e-6)
    task.fit(**FIT, out=tmp_path / "run")
    assert answers(nf.load(tmp_path / "run"), "classify") == answers(task, "classify") != before


def test_a_causal_model_takes_a_head_and_adapters(tmp_path):
    nf.LanguageModel.from_text(TEXT, tokenizer=ByteTokenizer(), config=nf.LlamaConfig(**SHAPE)).save(tmp_path / "base")
    task = nf.Classifier.from_data(EXAMPLES["classify"], pretrained=tmp_path / "base", lora=LORA)
    task.fit(**FIT, out=tmp_path / "run")
    assert answers(nf.load(tmp_path / "run"), "classify") == answers(task, "classify")


def test_the_command_trains_predicts_evaluates_and_resumes(encoder, tmp_path, capsys):
    rows = "".join(f"{text},{label}\n" for text, label in EXAMPLES["classify"])
    (tmp_path / "data.csv").write_text(f"text,label\n{rows}")
    run = tmp_path / "run"
    lora = ["--lora.rank", "2", "--lora.targets", "query", "v_proj"]
    words = ["--data", str(tmp_path / "data.csv"), "--from", str(encoder), "--train.batch-size", "4"]
    assert main(["train", "classify", *words, *lora, "--train.steps", "4", "--out", str(run)]) == 0
    assert json.loads((run / "adapter_config.json").read_text())["target_modules"] == ["query", "value"]
    assert main(["train", "classify", "--out", str(run), "--resume", "--train.steps", "6"]) == 0
    assert main(["evaluate", str(run)]) == 0
    assert main(["info", str(run)]) == 0
    assert f"of rank 2 on 4 layers of {encoder}" in capsys.readouterr().out
    assert main(["predict", str(run), "Ann likes tea"]) == 0
    assert json.loads(capsys.readouterr().out)["label"] in ("tea", "rice")


def test_a_run_says_in_its_settings_whether_it_has_adapters(make, tmp_path):
    make("classify")[0].fit(**FIT, out=tmp_path / "thin")
    make("classify", lora=NO_ADAPTERS)[0].fit(**FIT, out=tmp_path / "full")
    settings = [nf.training.run_folder.read_toml(tmp_path / name / "run.toml") for name in ("thin", "full")]
    assert settings[0]["lora"] == {"rank": 2, "alpha": 8.0, "dropout": 0.1, "targets": []}
    assert "lora" not in settings[1]


def test_a_run_is_not_continued_where_the_base_has_other_weights(encoder, tmp_path, capsys):
    other = nf.load(encoder)
    other.save(tmp_path / "base")
    data, run = tmp_path / "data.csv", tmp_path / "run"
    data.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in EXAMPLES["classify"]))
    nf.Classifier.from_data(data, pretrained=tmp_path / "base", lora=LORA).fit(**FIT, out=run)
    other.model.head.bias.data[...] += 1.0
    other.save(tmp_path / "base")
    assert main(["train", "classify", "--out", str(run), "--resume", "--train.steps", "8"]) == 2
    assert "base has other weights now than when the run began" in capsys.readouterr().err
    with pytest.raises(InputError, match="has other weights now than those that it was trained on"):
        nf.load(run)


@pytest.mark.parametrize("name", ALL)
def test_adapters_of_no_model_are_refused(name):
    make = nf.MaskedLanguageModel.from_text if name == "mlm" else TASKS[name].from_data
    with pytest.raises(InputError, match="adapters belong to a trained model"):
        make(EXAMPLES.get(name, TEXT), lora=LORA)


@pytest.mark.parametrize("name", ALL)
def test_adapters_do_not_go_with_what_else_says_what_is_trained(name, make):
    with pytest.raises(InputError, match="leave out freeze"):
        make(name, freeze="backbone")
    with pytest.raises(InputError, match="settings of adapters need their rank"):
        make(name, lora=LoRAConfig(dropout=0.1))


def test_targets_that_fit_nothing_are_answered_with_those_that_there_are(make):
    with pytest.raises(InputError, match=r"called 'c_attn'; there are q_proj, query, k_proj"):
        make("tag", lora=LoRAConfig(rank=2, targets=("c_attn",)))
