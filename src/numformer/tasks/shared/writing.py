"""How a task that writes text chooses its tokens: the settings of a call, and what generation_config.json says of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, get_type_hints

from numformer._files import read_json, write_atomically
from numformer._names import rename_settings
from numformer._notices import say
from numformer.errors import InputError
from numformer.generation import BeamConfig, SamplingConfig
from numformer.generation.sampling import SamplingSettings

FILE = "generation_config.json"
DRAWING = ("temperature", "top_k", "top_p", "min_p")  # which a file means only where it says do_sample
SEARCHING = ("num_beams", "length_penalty", "early_stopping")
RULES = ("repetition_penalty", "no_repeat_ngram_size", "min_new_tokens")
TOP_K = 50  # of a file that says do_sample and no top_k, in transformers
UNFOLLOWED = {  # keys that would change what is written, and the values that change nothing
    **dict.fromkeys(("typical_p", "encoder_repetition_penalty", "guidance_scale", "num_beam_groups"), (1,)),
    **dict.fromkeys(("min_length", "diversity_penalty", "encoder_no_repeat_ngram_size", "penalty_alpha"), (0,)),
    **dict.fromkeys(("epsilon_cutoff", "eta_cutoff"), (0,)),
    **dict.fromkeys(("forced_bos_token_id", "forced_eos_token_id", "sequence_bias"), ()),
    "exponential_decay_length_penalty": (),
    **dict.fromkeys(("suppress_tokens", "begin_suppress_tokens"), ([],)),
}


class WritingSettings(SamplingSettings, total=False):
    """The fields of SamplingConfig, and those of BeamConfig for a search, as keywords."""

    num_beams: int
    length_penalty: float
    early_stopping: bool | Literal["never"]


KNOWN = frozenset(get_type_hints(WritingSettings))


@dataclass(frozen=True)
class WritingDefaults:
    """What the folder of a model says about writing with it: the settings to take where a call gives none, the end tokens.

    `content` is that of its generation_config.json, or None without such a file.
    """

    content: bytes | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    eos_ids: tuple[int, ...] | None = None

    @classmethod
    def read(cls, folder: str | Path) -> Self:
        """Read generation_config.json where a folder has it, and otherwise the end tokens of its config.json.

        Without `do_sample` the most probable token is taken, as transformers does. What a file asks for that is not there is
        said on stderr. Raises InputError for a damaged file and for values out of range.
        """
        file = Path(folder) / FILE
        if not file.exists():
            return cls(eos_ids=_eos_ids(read_json(Path(folder) / "config.json"), "config.json"))
        keys = {name: value for name, value in read_json(file).items() if value is not None}
        drawing = {"temperature": 0.0}
        if keys.get("do_sample"):
            drawing = {"top_k": TOP_K} | {name: keys[name] for name in DRAWING if name in keys}
        settings = drawing | {name: keys[name] for name in (*RULES, *SEARCHING) if name in keys}
        defaults = cls(file.read_bytes(), settings | _bad_words(keys), _eos_ids(keys, FILE))
        try:
            defaults.config({})
        except InputError as error:
            raise InputError(f"{file}: {error}") from None
        if unfollowed := [name for name, neutral in UNFOLLOWED.items() if keys.get(name) not in (None, *neutral)]:
            say(f"{file} has {', '.join(unfollowed)}, which is not followed")
        return defaults

    def save(self, folder: str | Path) -> None:
        """Write generation_config.json as it was read, or remove that of another model where there was none."""
        if self.content is None:
            (Path(folder) / FILE).unlink(missing_ok=True)
        else:
            write_atomically(Path(folder) / FILE, self.content.decode())

    def config(self, given: Mapping[str, Any], num_return: int = 1) -> SamplingConfig | BeamConfig:
        """Return how to write: a search where `num_beams` is above 1, with so many results, else one token after another.

        Raises InputError for a setting that is unknown, out of range, or for the other way to write.
        """
        given = rename_settings(given, KNOWN)
        settings = {**self.settings, **given}
        searches = settings.get("num_beams", 1) != 1
        others = DRAWING if searches else SEARCHING[1:]
        if wrong := [name for name in others if name in given]:
            way = f"drawing tokens, not with num_beams={settings['num_beams']}" if searches else "num_beams above 1"
            raise InputError(f"{wrong[0]} is for {way}")
        fitting = {name: value for name, value in settings.items() if name not in others}
        if searches:
            return BeamConfig(**fitting, num_return=num_return)
        return SamplingConfig(**{name: value for name, value in fitting.items() if name != "num_beams"})


def _bad_words(keys: Mapping[str, Any]) -> dict[str, Any]:
    return {"bad_words": keys["bad_words_ids"]} if "bad_words_ids" in keys else {}


def _eos_ids(keys: Mapping[str, Any], where: str) -> tuple[int, ...] | None:
    """Return the end tokens, one or several; None where none are named."""
    found = keys.get("eos_token_id")
    ids = found if isinstance(found, list) else [found]
    if found is None:
        return None
    if not all(isinstance(token, int) and token >= 0 for token in ids):
        raise InputError(f"{where}: eos_token_id must be a token id or a list of them, got {found!r}")
    return tuple(ids)
