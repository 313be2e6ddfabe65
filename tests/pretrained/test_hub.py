"""Models of the Hugging Face hub, from a server of these tests, whose address a process of each test is given."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading

import pytest

from numformer import GPT, InputError
from numformer.pretrained import save_model
from numformer.pretrained.hub import fetch_from_hub
from numformer.tokenizers import CharacterTokenizer, save_tokenizer

COMMIT = "a" * 40
OPEN = "import sys, numformer as nf; lm = nf.load(sys.argv[1]); print(type(lm).__name__, lm.model.config.d_model)"


@pytest.fixture
def models(tmp_path):
    """Return the models that the server has, by name, each with its files."""
    tokenizer = CharacterTokenizer("abc\n")
    save_model(GPT(vocab_size=4, d_model=8, num_heads=2, num_layers=1, max_seq_len=4), tmp_path / "gpt")
    save_tokenizer(tokenizer, tmp_path / "gpt")
    files = {path.name: path.read_bytes() for path in (tmp_path / "gpt").iterdir()}
    pickled = {"config.json": files["config.json"], "pytorch_model.bin": b"pickle"}
    return {"some/gpt": files | {"pytorch_model.bin": b"pickle"}, "some/pickled": pickled}


@pytest.fixture
def hub(models):
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self):
            self.answer(with_body=False)

        def do_GET(self):
            self.answer(with_body=True)

        def answer(self, with_body):
            asked.append(self.path)
            status, content, headers = self.found(self.path.partition("?")[0])
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if with_body:
                self.wfile.write(content)

        def found(self, path):
            for name, files in models.items():
                if path.startswith(f"/api/models/{name}/tree/"):
                    rows = [
                        {"type": "file", "path": file, "size": len(content), "oid": COMMIT}
                        for file, content in files.items()
                    ]
                    return 200, json.dumps(rows).encode(), {}
                if path.startswith(f"/api/models/{name}/"):
                    siblings = [{"rfilename": file} for file in files]
                    return 200, json.dumps({"id": name, "sha": COMMIT, "siblings": siblings}).encode(), {}
                if path.startswith(f"/{name}/resolve/"):
                    content = files[path.rsplit("/", 1)[1]]
                    tag = hashlib.sha256(content).hexdigest()
                    return 200, content, {"X-Repo-Commit": COMMIT, "ETag": f'"{tag}"'}
            return 404, b"{}", {"X-Error-Code": "RepoNotFound"}

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        server.asked = asked
        yield server
        server.shutdown()
        thread.join()


def opened(tmp_path, source, server=None, **environment):
    pytest.importorskip("huggingface_hub")
    address = "http://127.0.0.1:9" if server is None else f"http://127.0.0.1:{server.server_address[1]}"
    environment = {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hf"), "NO_PROXY": "127.0.0.1", **environment}
    command = [sys.executable, "-c", OPEN, source]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)


def test_a_model_of_the_hub_opens_with_no_file_but_those_that_are_read_and_again_without_a_network(tmp_path, hub):
    first = opened(tmp_path, "hf:some/gpt", hub)
    assert first.stdout == "LanguageModel 8\n", first.stderr
    assert any("model.safetensors" in path for path in hub.asked)
    assert not any("pytorch_model.bin" in path for path in hub.asked)
    again = opened(tmp_path, "hf:some/gpt", HF_HUB_OFFLINE="1")
    assert again.stdout == "LanguageModel 8\n", again.stderr


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("hf:some/nothing", "the hub has no model some/nothing, or none that everybody may read"),
        (
            "hf:some/pickled",
            "hf:some/pickled has no weights in safetensors, which alone are fetched: pickles are not read",
        ),
    ],
)
def test_what_the_hub_does_not_have_is_refused(tmp_path, hub, source, message):
    assert f"InputError: {message}" in opened(tmp_path, source, hub).stderr


def test_without_a_network_a_model_that_was_never_fetched_is_refused_in_a_sentence(tmp_path):
    result = opened(tmp_path, "hf:some/gpt", HF_HUB_OFFLINE="1")
    assert result.stderr.rstrip().endswith(
        "InputError: hf:some/gpt is not on this machine, and the hub cannot be reached; is there a network?"
    )


@pytest.mark.parametrize(
    "source", ["hf:", "hf:name", "hf:../..", "hf:a/b/c", "hf:a/../b", "hf:https://x/y", "hf:a b/c"]
)
def test_other_forms_of_a_name_are_refused_before_the_library_is_asked(source, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match="a model of the Hugging Face hub is named hf:owner/name, got"):
        fetch_from_hub(source)


def test_without_the_package_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"pip install 'numformer\[hub\]'"):
        fetch_from_hub("hf:some/gpt")
