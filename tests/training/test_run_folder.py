"""Links inside a run folder, which may point to what is not the run's."""

import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")


@pytest.fixture
def outside(tmp_path):
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"precious")
    (folder / ".model.safetensors.123.tmp").write_bytes(b"another process is writing this")
    return folder


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["best", "state", "model.safetensors", "metrics.jsonl", "run.toml"])
def test_overwrite_removes_a_link_and_leaves_what_it_points_to(fit, tmp_path, outside, name):
    run = tmp_path / "run"
    fit(out=run)
    place = run / name
    if place.is_dir():
        place.rename(tmp_path / "moved")
        pointed_to = outside
    else:
        pointed_to = outside / "model.safetensors"
        if name == "run.toml":
            pointed_to.write_bytes(place.read_bytes())
        place.unlink()
    before = contents(outside)
    place.symlink_to(pointed_to)
    fit(out=run, overwrite=True)
    assert contents(outside) == before
    assert place.exists()
    assert not place.is_symlink()


@pytest.mark.parametrize("name", ["best", "state", "model.safetensors", "metrics.jsonl"])
def test_overwrite_removes_a_link_to_nothing(fit, tmp_path, name):
    run = tmp_path / "run"
    fit(out=run)
    (run / name).rename(tmp_path / "moved")
    (run / name).symlink_to(tmp_path / "gone")
    fit(out=run, overwrite=True)
    assert (run / name).exists()
    assert not (run / name).is_symlink()
    assert not (tmp_path / "gone").exists()


def test_a_run_is_continued_through_a_link_to_its_best_weights(fit, tmp_path):
    run = tmp_path / "run"
    fit(out=run)
    (run / "best").rename(tmp_path / "elsewhere")
    (run / "best").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / ".model.safetensors.1.tmp").write_bytes(b"another process is writing this")
    _, result, _ = fit(out=run, resume=True, steps=9)
    assert result.step == 9
    assert (run / "best").is_symlink()
    assert (tmp_path / "elsewhere" / ".model.safetensors.1.tmp").exists()


def test_temporary_files_behind_a_link_or_in_a_strangers_folder_are_left_alone(fit, tmp_path, outside):
    run = tmp_path / "run"
    fit(out=run)
    (run / "other").symlink_to(outside)
    (run / "state" / ".checkpoint.safetensors.1.tmp").write_bytes(b"killed")
    before = contents(outside)
    fit(out=run, resume=True)
    assert contents(outside) == before
    assert not (run / "state" / ".checkpoint.safetensors.1.tmp").exists()
