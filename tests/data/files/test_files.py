import errno
import os
from pathlib import Path

import pytest

from numformer._files import replacing_folder, write_atomically
from numformer.errors import InputError


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def test_text_is_stored_as_utf8_with_its_newlines(tmp_path):
    write_atomically(tmp_path / "new" / "a.txt", "é\r\n\n")
    assert (tmp_path / "new" / "a.txt").read_bytes() == b"\xc3\xa9\r\n\n"


def test_bytes_replace_what_was_there(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"a longer content")
    write_atomically(str(tmp_path / "a.bin"), b"\0\xff")
    assert (tmp_path / "a.bin").read_bytes() == b"\0\xff"


def test_only_the_file_itself_is_left(tmp_path):
    write_atomically(tmp_path / "a.txt", "text")
    assert names(tmp_path) == ["a.txt"]


def test_a_new_file_has_ordinary_permissions(tmp_path):
    (tmp_path / "ordinary").touch()
    write_atomically(tmp_path / "a.txt", "text")
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(step, tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "a.txt").write_text("old")
    monkeypatch.setattr(os, step, fail)
    with pytest.raises(InputError, match=r"could not write .*a\.txt: No space left on device"):
        write_atomically(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_an_interruption_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    def interrupt(descriptor):
        raise KeyboardInterrupt

    (tmp_path / "a.txt").write_text("old")
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_content_is_on_disk_before_the_name_changes(tmp_path, monkeypatch):
    order = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda *a: (order.append("fsync"), fsync(*a)))
    monkeypatch.setattr(os, "replace", lambda *a: (order.append("replace"), replace(*a)))
    write_atomically(tmp_path / "a.txt", "text")
    assert order == ["fsync", "replace"]


def test_a_folder_in_the_way_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="could not write"):
        write_atomically(tmp_path / "file" / "a.txt", "text")


def test_a_link_stays_a_link_to_what_is_written(tmp_path):
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to("target")
    write_atomically(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "new"


def test_what_is_no_ordinary_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe: it is not an ordinary file"):
        write_atomically(tmp_path / "pipe", "text")
    assert names(tmp_path) == ["pipe"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(errno.EIO, os.strerror(errno.EIO))])
def test_a_folder_whose_replacement_is_stopped_between_its_two_steps_is_as_it_was(error, tmp_path, monkeypatch):
    write_atomically(tmp_path / "model" / "a.txt", "old")
    rename = Path.rename

    def stopped(self, target):
        if Path(target).name == "model" and "before" not in self.name:
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", stopped)
    with pytest.raises((KeyboardInterrupt, InputError)), replacing_folder(tmp_path / "model") as folder:
        (folder / "a.txt").write_text("new")
    assert names(tmp_path) == ["model"]
    assert (tmp_path / "model" / "a.txt").read_text() == "old"
