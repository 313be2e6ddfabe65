"""Rules about the code itself."""

import graphlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import numformer

PACKAGE = Path(numformer.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
every_file = pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(PACKAGE)) for path in FILES])

# The rooms from ground to roof: a room imports from those before it, and never from one after it.
ROOMS = [
    *("errors", "absent", "names", "files", "notices", "random", "memory"),
    *("autograd", "ops", "testing", "nn", "models"),
    *("tokenizers", "data", "metrics", "optim", "pretrained", "checkpoint", "training", "hosts", "generation"),
    *("jax", "tasks"),
    *("__init__", "cli", "__main__"),
]
PUBLIC_FILES = {
    "checkpoint",
    "errors",
    "random",
    "testing",
}  # of those at the top; the others are for the package alone
PUBLIC_ROOMS = {"generation", "metrics", "models", "nn", "ops", "optim", "tasks", "tokenizers", "training"}
PUBLIC_NAMES = {
    *(
        "GPT",
        "GPTConfig",
        "Llama",
        "LlamaConfig",
        "BertConfig",
        "ModelConfig",
        "Transformer",
        "TransformerConfig",
        "build_model",
    ),
    *("Classifier", "LanguageModel", "MaskedLanguageModel", "QuestionAnswerer", "Regressor", "Summariser", "Tagger"),
    *("Translator", "Chat", "Embedder", "load", "load_task"),
    *("save_weights", "load_weights", "save_checkpoint", "load_checkpoint"),
    *("Parameter", "Tensor", "capture", "gradients", "inference", "intervene", "no_grad", "recompute"),
    *("ByteTokenizer", "CharacterTokenizer", "DataLoader", "PaddingCollate", "TensorDataset", "CrossEntropyLoss"),
    *("BeamConfig", "SamplingConfig", "OptimConfig", "TrainConfig", "InputError"),
}


def load_picture():
    """Return the module that draws the rooms, which knows how to read their imports."""
    spec = importlib.util.spec_from_file_location("rooms", PACKAGE.parents[1] / "docs" / "rooms.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["rooms"] = module  # named tuples look their module up
    spec.loader.exec_module(module)
    return module


picture = load_picture()
IMPORTS = picture.imports()


def imports_any(path, *packages):
    names = {name for module, member in picture.imported_names(path) for name in (module, f"{module}.{member}")}
    return [name for name in names if any(f"{name}.".startswith(f"{package}.") for package in packages)]


# The order of the rooms


def test_every_file_and_folder_is_a_room_of_the_list():
    assert {picture.room_of(module) for module in picture.modules()} == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_from_those_below_it_alone(room):
    below = {*ROOMS[: ROOMS.index(room)], room}
    upward = [
        f"{module} imports {target}"
        for module, targets in IMPORTS.items()
        for target in sorted(targets)
        if picture.room_of(module) == room and picture.room_of(target) not in below
    ]
    assert upward == []


def test_no_files_import_each_other_in_a_circle():
    graphlib.TopologicalSorter(IMPORTS).prepare()  # raises CycleError, which names the circle


def test_every_way_to_write_an_import_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(picture, "PACKAGE", tmp_path / "numformer")
    files = {
        "__init__.py": "",
        "low.py": "",
        "lazy.py": "if TYPE_CHECKING:\n    import numformer.high\nelse:\n    import numformer.low",
        "typed.py": "import typing\nif typing.TYPE_CHECKING:\n    from numformer import high",
        "high/__init__.py": "from .one import x",
        "high/one.py": "from .. import low\ndef f():\n    from numformer.high import two",
        "high/two.py": "import numformer.low as l, numpy\nfrom . import x",
        "high/three.py": "class A:\n    def f(self):\n        from ..low import y\n        import numformer",
        "high/deep/four.py": "from ...high.one import x\nfrom .. import deep",
    }
    for name, text in files.items():
        path = tmp_path / "numformer" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    found = {
        module.removeprefix("numformer."): {target.removeprefix("numformer.") for target in targets}
        for module, targets in picture.imports().items()
    }
    assert found == {
        "__init__": set(),
        "low": set(),
        "lazy": {"low"},
        "typed": set(),
        "high.__init__": {"high.one"},
        "high.one": {"low", "high.two"},
        "high.two": {"low", "high.__init__"},
        "high.three": {"low", "__init__"},
        "high.deep.four": {"high.one", "high.__init__"},
    }


def test_the_picture_of_the_rooms_shows_the_imports_of_today():
    assert picture.shown() == picture.facts(), "python docs/rooms.py draws it again"


# What is for users


def test_the_public_names_are_listed():
    assert set(numformer.__all__) == PUBLIC_NAMES | PUBLIC_ROOMS
    assert len(numformer.__all__) == len(set(numformer.__all__))
    for name in numformer.__all__:
        assert getattr(numformer, name) is not None


def test_looking_through_the_library_shows_what_is_for_users():
    """Completion in a shell asks `dir`; a task is imported when it is asked for, and shown before."""
    assert set(dir(numformer)) == PUBLIC_NAMES | PUBLIC_ROOMS | {"__version__"}
    assert set(dir(numformer.tasks)) == set(numformer.tasks.__all__)


def test_files_at_the_top_are_for_users_or_private():
    top = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert {name for name in top if not name.startswith("_")} - PUBLIC_FILES == set()


# The page that describes the code

ROOT = PACKAGE.parents[1]
SECTIONS = re.split(r"^## ", (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
WALKS = {section.partition("\n")[0]: section for section in SECTIONS if ", from " in section.partition("\n")[0]}


def paths_in(text):
    """Return what stands in backticks and is a file or a folder, by its look, in order."""
    return re.findall(r"`([\w/.-]+(?:\.(?:py|md|svg|toml|json|safetensors)|/))`", text)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.partition("\n")[0])
def test_every_path_on_the_page_exists(section):
    assert [path for path in paths_in(section) if not any((at / path).exists() for at in (ROOT, PACKAGE))] == []


def test_the_page_follows_two_examples():
    assert len(WALKS) == 2


@pytest.mark.parametrize("walk", WALKS)
def test_a_walk_visits_every_file_once(walk):
    visited = [path for path in paths_in(WALKS[walk]) if path.endswith(".py")]
    assert len(visited) >= 8
    assert [path for path in visited if visited.count(path) > 1] == []


# What every file keeps to


@every_file
def test_files_stay_readable(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 400


@every_file
def test_nothing_is_pickled(path):
    assert imports_any(path, "pickle", "marshal", "shelve", "dill", "joblib") == []


@pytest.mark.parametrize("folder", ["nn", "models"])
def test_layers_and_models_leave_arithmetic_to_the_ops(folder):
    for path in (PACKAGE / folder).rglob("*.py"):
        assert imports_any(path, "numpy", "jax") == [], path


def test_jax_is_imported_in_its_own_room_alone():
    importing = [path for path in FILES if imports_any(path, "jax")]
    assert [path for path in importing if PACKAGE / "jax" not in path.parents] == []


def test_importing_numformer_imports_no_slow_or_optional_library():
    slow = {"rich", "tyro", "matplotlib", "tokenizers", "pooch", "safetensors", "jax", "torch"}
    slow |= {"sacrebleu", "seqeval", "rouge_score", "sklearn", "numformer.tasks.shared"}
    code = f"import sys, numformer; print(*sorted({slow!r} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []
