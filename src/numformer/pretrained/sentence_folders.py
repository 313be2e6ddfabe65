"""What a folder of the sentence-transformers library says beside config.json: how positions become one vector.

`modules.json` lists the steps, each with a folder of its own: the encoder, the pooling, and perhaps a normalisation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numformer._files import write_atomically
from numformer.errors import InputError
from numformer.models.sentence_encoder import SentenceEncoder

POOLINGS = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token", "max": "pooling_mode_max_tokens"}
STEPS = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
PROMPTS = "config_sentence_transformers.json"
LIBRARY = "sentence_transformers.models."
MODULES = "modules.json"


def read_sentence_settings(folder: Path) -> dict[str, Any] | None:
    """Return the settings of a SentenceEncoder that a folder holds, None where it is none.

    Raises InputError for a file that is damaged, for a step or a pooling that is not supported, and for an encoder that lies
    in a folder of its own.
    """
    if not (folder / MODULES).exists():
        return None
    settings = dict[str, Any](normalize=False)
    for step in _read(folder / MODULES, list):
        kind, path = (str(step.get(key, "")) if isinstance(step, dict) else "" for key in ("type", "path"))
        kind = kind.rpartition(".")[2]
        if kind not in STEPS:
            raise InputError(f"{folder / 'modules.json'}: the step {kind!r} is not supported, only {', '.join(STEPS)}")
        if kind == "Transformer" and path and not (folder / "config.json").exists():
            raise InputError(
                f"{folder} has its encoder in {path}, as older folders do: copy what is there into {folder}"
            )
        if kind == "Pooling":
            settings["vector"] = _pooling(folder / Path(path).name / "config.json")
        settings["normalize"] |= kind == "Normalize"
    file = folder / "sentence_bert_config.json"
    keys = _read(file, dict) if file.exists() else {}
    if (longest := keys.get("max_seq_length")) is not None:
        settings["max_seq_len"] = longest
    settings["lower_case"] = keys.get("do_lower_case") is True
    return settings


def save_sentence_settings(model: SentenceEncoder, folder: Path) -> None:
    """Write the files that `read_sentence_settings` reads."""
    steps = [kind for kind in STEPS if kind != "Normalize" or model.normalize]
    pooling = {key: name == model.vector for name, key in POOLINGS.items()}
    pooling = {"word_embedding_dimension": model.config.d_model, **pooling, "pooling_mode_mean_sqrt_len_tokens": False}
    modules = [
        {"idx": number, "name": str(number), "path": STEPS[kind], "type": LIBRARY + kind}
        for number, kind in enumerate(steps)
    ]
    (folder / STEPS["Pooling"]).mkdir(parents=True, exist_ok=True)
    _write(folder / STEPS["Pooling"] / "config.json", pooling)
    keys = {"max_seq_length": model.max_seq_len, "do_lower_case": model.lower_case}
    _write(folder / "sentence_bert_config.json", keys)
    _write(folder / MODULES, modules)


class Prompts:
    """What config_sentence_transformers.json says of beginnings of texts, and all else that it holds.

    `names` are those of its prompts, and `default` is the one that is put before every text. Raises InputError for one that
    is no text, and for a default that is not there.
    """

    def __init__(self, content: Mapping[str, Any] | None = None, where: str = PROMPTS) -> None:
        self.content = dict(content or {})
        prompts, name = self.content.get("prompts") or {}, self.content.get("default_prompt_name")
        if not isinstance(prompts, dict) or not all(isinstance(text, str) for text in prompts.values()):
            raise InputError(f"{where}: prompts must be texts by their names, got {str(prompts)[:80]}")
        if name is not None and name not in prompts:
            raise InputError(f"{where}: default_prompt_name is {str(name)[:80]!r}, of which there is no prompt")
        self.names, self.default = tuple(prompts), "" if name is None else str(prompts[name])

    @classmethod
    def read(cls, folder: Path) -> Prompts:
        """Return those of a folder; without the file there are none."""
        file = folder / PROMPTS
        return cls(_read(file, dict), str(file)) if file.exists() else cls()

    def save(self, folder: Path) -> None:
        """Write the file as it was, where there was one."""
        if self.content:
            _write(folder / PROMPTS, self.content)


def _pooling(file: Path) -> str:
    keys = _read(file, dict)
    if keys.get("include_prompt") is False:
        raise InputError(f"{file}: a pooling that leaves prompts out (include_prompt) is not supported")
    modes = [key for key, value in keys.items() if key.startswith("pooling_mode") and value is True]
    found = [name for name, key in POOLINGS.items() if modes == [key]] or [
        name for name in POOLINGS if keys.get("pooling_mode") == name
    ]
    if not found:
        raise InputError(
            f"{file}: the pooling {', '.join(modes) or 'none'} is not supported, only one of {', '.join(POOLINGS)}"
        )
    return found[0]


def _read(file: Path, kind: type[Any]) -> Any:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file} cannot be read as JSON: {error}") from None
    if not isinstance(content, kind):
        raise InputError(f"{file} holds {type(content).__name__}, expected a {kind.__name__}")
    return content


def _write(file: Path, content: Any) -> None:
    write_atomically(file, json.dumps(content, indent=2) + "\n")
