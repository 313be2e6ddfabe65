"""`numformer chat`: one question that is given or piped, and a talk in a terminal."""

import io
import json
import sys

import pytest

from numformer import Chat, SamplingConfig
from numformer.cli import chat as command
from numformer.pretrained import write_gguf

FEW = ("--max-new-tokens=8", "--temperature=0")


@pytest.fixture
def folder(chat_folder):
    return chat_folder()


@pytest.fixture
def answer(folder):
    """Return what the model answers to a question."""
    return lambda text, **settings: Chat.load(
        folder, sampling=SamplingConfig(temperature=0), max_new_tokens=8, **settings
    ).say(text)


@pytest.fixture
def pipe(tmp_path, monkeypatch):
    """Give the command standard input that is no terminal."""

    def call(text):
        (tmp_path / "stdin").write_text(text)
        monkeypatch.setattr(sys, "stdin", (tmp_path / "stdin").open())

    return call


@pytest.fixture
def terminal(monkeypatch):
    """Let a person type lines into a terminal; an exception stands for a key."""

    def call(*lines):
        keys = iter([*lines, EOFError()])

        def typed(prompt):
            line = next(keys)
            if isinstance(line, BaseException):
                raise line
            return line

        monkeypatch.setattr("builtins.input", typed)
        monkeypatch.setattr(sys, "stdin", type("Terminal", (io.StringIO,), {"isatty": lambda self: True})())

    return call


def test_a_question_that_is_given_is_answered(numformer, folder, answer):
    result = numformer("chat", folder, "--prompt=The cat", *FEW)
    assert (result.status, result.out) == (0, answer("The cat") + "\n")


def test_a_question_that_is_piped_is_answered(numformer, folder, answer, pipe):
    pipe("The cat\nsat\n")
    result = numformer("chat", folder, *FEW)
    assert (result.status, result.out) == (0, answer("The cat\nsat") + "\n")


def test_a_gguf_file_is_talked_with(numformer, folder, answer, tmp_path):
    model = Chat.load(folder).model
    write_gguf(model.model, model.template.tokenizer, tmp_path / "x.gguf", "f32", model.template.source)
    assert numformer("chat", tmp_path / "x.gguf", "--prompt=The cat", *FEW).out == answer("The cat") + "\n"


def test_the_system_message_and_the_sampling_are_options(numformer, folder, answer):
    result = numformer("chat", folder, "--prompt=The cat", "--system=a mat", *FEW)
    assert result.out == answer("The cat", system="a mat") + "\n" != answer("The cat") + "\n"
    warm = ("chat", folder, "--prompt=The cat", "--max-new-tokens=8", "--temperature=2", "--top-p=1")
    assert numformer(*warm, "--seed=1").out == numformer(*warm, "--seed=1").out != numformer(*warm, "--seed=2").out


def test_a_model_that_runs_under_jax_answers_the_same(numformer, folder, answer):
    pytest.importorskip("jax", reason="JAX is not installed: pip install 'numformer[jax]'")
    result = numformer("chat", folder, "--prompt=The cat", "--backend=jax", *FEW)
    assert (result.status, result.out) == (0, answer("The cat") + "\n")


def test_the_speed_and_the_cut_of_an_answer_are_said_on_stderr(numformer, folder):
    error = numformer("chat", folder, "--prompt=The cat", *FEW).err
    assert " tokens read in " in error
    assert " 8 tokens written, " in error
    assert error.endswith(" tokens/s, cut by --max-new-tokens]\n")


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_no_question_is_refused(numformer, folder, pipe, text):
    pipe(text)
    result = numformer("chat", folder)
    assert (result.status, result.out) == (2, "")
    assert result.err == (
        "numformer: no question came on standard input; give one with --prompt, or talk in a terminal\n"
    )


def test_a_model_without_a_template_is_refused(numformer, chat_folder):
    result = numformer("chat", chat_folder(template=None), "--prompt=The cat")
    assert result.status == 2
    assert "has no chat template" in result.err
    assert result.err.count("\n") == 1


def test_a_talk_goes_on_until_the_end_of_the_input(numformer, folder, terminal):
    terminal("The cat", "", "sat")
    result = numformer("chat", folder, *FEW)
    chat = Chat.load(folder, sampling=SamplingConfig(temperature=0), max_new_tokens=8)
    first, second = chat.say("The cat"), chat.say("sat")
    assert result.status == 0
    assert result.out.endswith(f"Ctrl-D ends.\n{first}\n{second}\n\n")
    assert result.err.count(" tokens/s") == 2


def test_the_commands_of_a_talk(numformer, folder, terminal, tmp_path):
    terminal(
        "/system a mat",
        "The cat",
        "/reset",
        "sat",
        "/regen",
        f"/save {tmp_path / 'talk.jsonl'}",
        "/help",
        "/exit",
        "no",
    )
    result = numformer("chat", folder, *FEW)
    assert (result.status, result.err.count(" tokens/s")) == (0, 3)
    assert "/regen        another answer" in result.out
    messages = json.loads((tmp_path / "talk.jsonl").read_text())["messages"]
    assert [(each["role"], each["content"]) for each in messages[:2]] == [("system", "a mat"), ("user", "sat")]
    assert [each["role"] for each in messages] == ["system", "user", "assistant"]
    assert f"3 messages written to {tmp_path / 'talk.jsonl'}" in result.out


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("/quit", "there is no command /quit: /help lists them; a question may begin with a space"),
        ("/save", "/save needs the name of a file"),
        ("/save {folder}/config.json", "{folder}/config.json exists already: choose another name"),
        ("/save {folder}/config.json/x", "could not write {folder}/config.json/x: "),
        ("/regen", "there is no answer to give again"),
        ("cat " + "x y z " * 99, "the question makes a prompt of 610 tokens, but the model reads 128"),
    ],
)
def test_what_cannot_be_done_is_said_and_the_talk_goes_on(numformer, folder, terminal, line, sentence):
    before = (folder / "config.json").read_bytes()
    terminal(line.format(folder=folder), "The cat")
    result = numformer("chat", folder, *FEW)
    assert result.status == 0
    assert result.err.startswith(sentence.format(folder=folder))
    assert result.err.count(" tokens/s") == 1
    assert (folder / "config.json").read_bytes() == before


def test_ctrl_c_stops_an_answer_and_keeps_the_talk(numformer, folder, terminal, monkeypatch, tmp_path):
    pieces = []

    def stopped(text="", end="\n", flush=False):
        pieces.append(text)
        if len(pieces) == 4:  # a greeting comes first
            raise KeyboardInterrupt

    monkeypatch.setattr(command, "print", stopped, raising=False)
    terminal("The cat", KeyboardInterrupt(), f"/save {tmp_path / 'talk.jsonl'}")
    assert numformer("chat", folder, *FEW).status == 0
    messages = json.loads((tmp_path / "talk.jsonl").read_text())["messages"]
    assert messages[-1] == {"role": "assistant", "content": "".join(pieces[1:4])}


def test_a_question_with_bytes_that_are_no_text_is_refused(numformer, folder, terminal):
    terminal("a\udc80")
    result = numformer("chat", folder, *FEW)
    assert result.status == 0
    assert "'\\udc80'" in result.err
    assert result.err.count("\n") == 1
