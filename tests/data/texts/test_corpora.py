import dataclasses
import functools
import hashlib
import http.server
import logging
import os
import re
import socket
import sys
import tempfile
import threading
from pathlib import Path
from pydoc_data.topics import topics

import pytest

from numformer.data import CORPORA, fetch, find_corpus, list_corpora, read_text_chunks
from numformer.errors import InputError

TEXT = b"First Citizen:\nBefore we proceed any further, hear me speak.\n"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMFORMER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serve TEXT at /input.txt as the tinyshakespeare corpus, and something else at /wrong.txt."""
    pytest.importorskip("pooch").get_logger().setLevel(logging.WARNING)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "input.txt").write_bytes(TEXT)
    (folder / "wrong.txt").write_bytes(TEXT + b"!")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))
    ) as running:
        address = f"http://127.0.0.1:{running.server_address[1]}"
        corpus = dataclasses.replace(
            CORPORA["tinyshakespeare"], url=f"{address}/input.txt", sha256=hashlib.sha256(TEXT).hexdigest()
        )
        monkeypatch.setitem(CORPORA, "tinyshakespeare", corpus)
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield address
        running.shutdown()
        thread.join()


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def test_a_text_is_fetched_into_the_cache(server, cache):
    file = fetch("tinyshakespeare")
    assert file == cache / "tinyshakespeare.txt"
    assert file.read_bytes() == TEXT
    assert names(cache) == ["tinyshakespeare.txt"]


def test_a_text_already_there_is_not_fetched_again(server, cache):
    fetch("tinyshakespeare")
    assert fetch("tinyshakespeare", url=f"{server}/missing.txt").read_bytes() == TEXT


def test_a_damaged_text_is_fetched_again(server, cache):
    cache.mkdir()
    (cache / "tinyshakespeare.txt").write_bytes(TEXT[:-5])
    assert fetch("tinyshakespeare").read_bytes() == TEXT


def test_a_text_can_be_fetched_into_another_folder(server, tmp_path):
    assert fetch("tinyshakespeare", folder=tmp_path / "here") == tmp_path / "here" / "tinyshakespeare.txt"


def test_a_wrong_checksum_is_refused_and_nothing_is_kept(server, cache):
    with pytest.raises(
        InputError, match=r"could not fetch tinyshakespeare from .*wrong\.txt: SHA256 hash .* not match"
    ):
        fetch("tinyshakespeare", url=f"{server}/wrong.txt")
    assert names(cache) == []


def test_a_file_the_server_does_not_have_is_one_sentence(server, cache):
    with pytest.raises(InputError, match=r"could not fetch tinyshakespeare from .*: the server answered 404$"):
        fetch("tinyshakespeare", url=f"{server}/missing.txt")
    assert names(cache) == []


def test_a_refused_connection_is_one_sentence(server, cache):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(
        InputError, match=rf"could not fetch tinyshakespeare from .*:{port}/input.txt: ConnectionError$"
    ):
        fetch("tinyshakespeare", url=f"http://127.0.0.1:{port}/input.txt")
    assert names(cache) == []


def test_an_address_that_is_none_is_one_sentence(server):
    with pytest.raises(InputError, match="could not fetch tinyshakespeare from nowhere: "):
        fetch("tinyshakespeare", url="nowhere")


def test_a_missing_pooch_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(InputError, match=re.escape("pip install 'numformer[download]'")):
        fetch("tinyshakespeare")


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(InputError, match=r"no text named 'shakespear' \(known are pydoc, tinyshakespeare\)"):
        fetch("shakespear")


def test_pydoc_needs_no_download_and_holds_every_topic(monkeypatch, cache):
    monkeypatch.setitem(sys.modules, "pooch", None)
    file = fetch("pydoc")
    assert file.parent == cache
    text = "".join(read_text_chunks(file))
    lines = [line for topic in sorted(topics) for line in topics[topic].splitlines()]
    kept = [line for line in lines if not line.strip().startswith(("|", "+-", "+="))]
    assert [line for line in text.splitlines() if line] == [line for line in kept if line]
    assert len(kept) > 0.9 * len(lines)


def test_a_file_that_exists_wins_over_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("pydoc").write_text("mine")
    assert find_corpus("pydoc") == Path("pydoc")


def test_data_is_found_by_name(cache):
    assert find_corpus("pydoc").read_text(encoding="utf-8").startswith(topics[min(topics)])


def test_data_not_yet_fetched_says_how_to_get_it():
    with pytest.raises(InputError, match="not on this machine yet: get it with `numformer data fetch tinyshakespeare`"):
        find_corpus("tinyshakespeare")


def test_fetched_data_is_found_by_name(server):
    assert find_corpus(fetch("tinyshakespeare").stem).read_bytes() == TEXT


def test_data_that_is_nowhere_is_refused():
    with pytest.raises(InputError, match=r"no file hamlet\.txt, and no text of that name \(known are pydoc, tiny"):
        find_corpus("hamlet.txt")


def test_the_list_says_what_is_on_this_machine(server):
    assert {corpus.name: present for corpus, present in list_corpora()} == {"pydoc": True, "tinyshakespeare": False}
    fetch("tinyshakespeare")
    assert {corpus.name: present for corpus, present in list_corpora()} == {"pydoc": True, "tinyshakespeare": True}


def test_the_checksum_is_that_of_tiny_shakespeare():
    default = Path(__file__).parents[4] / "shared" / "data"
    file = Path(os.environ.get("NUMFORMER_DATA", default)) / "lm" / "tinyshakespeare.txt"
    if not file.exists():
        pytest.skip(f"{file} is not on this machine")
    assert hashlib.sha256(file.read_bytes()).hexdigest() == CORPORA["tinyshakespeare"].sha256


@pytest.fixture
def blocked_cache(tmp_path, monkeypatch):
    """Name a cache folder that nobody can write, and a temporary folder of the test."""
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("NUMFORMER_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path / "temporary"


def test_a_cache_that_cannot_be_written_falls_back_to_a_temporary_folder_and_says_so(blocked_cache, tmp_path, capsys):
    file = find_corpus("pydoc")
    assert file.parent.parent == blocked_cache
    assert file.stat().st_size > 100_000
    [line] = capsys.readouterr().err.splitlines()
    assert line == (
        f"the cache folder {tmp_path / 'file' / 'cache'} cannot be written (Not a directory): pydoc is kept in "
        f"{file.parent}; set NUMFORMER_CACHE to a folder of yours"
    )


def test_what_is_in_the_temporary_folder_is_found_again_without_a_word(blocked_cache, capsys):
    first = find_corpus("pydoc")
    capsys.readouterr()
    assert find_corpus("pydoc") == first
    assert capsys.readouterr().err == ""


def test_a_text_is_read_from_a_cache_that_cannot_be_written(cache, monkeypatch):
    first = find_corpus("pydoc")
    monkeypatch.setattr(tempfile, "TemporaryFile", None)  # nobody tries to write
    assert find_corpus("pydoc") == first


def test_a_user_without_a_home_has_the_temporary_folder(monkeypatch, tmp_path):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    for name in ("NUMFORMER_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert find_corpus("pydoc").parent.parent == tmp_path


def test_a_missing_text_names_the_variable_of_the_cache():
    with pytest.raises(InputError, match="or set NUMFORMER_CACHE to the folder that has it"):
        find_corpus("tinyshakespeare")
