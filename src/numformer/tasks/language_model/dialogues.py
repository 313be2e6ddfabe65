"""Dialogues as ids: written by the chat template of the model, with its answers told from the rest."""

from __future__ import annotations

import numpy as np

from numformer.errors import InputError
from numformer.generation.chat_template import ChatTemplate
from numformer.tasks.language_model.format import ANSWERS, Dialogue
from numformer.tasks.shared.encoding import num_shared


def encode_dialogue(dialogue: Dialogue, template: ChatTemplate) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids [N] of a dialogue, and which of them [N] are those of answers.

    An answer is what comes after the beginning that the model gets when it is to write it. Raises InputError for a template
    that writes messages otherwise when others follow.
    """
    messages = dialogue.messages
    ids = np.array(template.encode(messages), np.int64)
    counts = np.zeros(len(ids), bool)
    for number, message in enumerate(messages):
        if message["role"] == ANSWERS:
            start = _shared(ids, template.encode(messages[:number], add_generation_prompt=True))
            stop = _shared(ids, template.encode(messages[: number + 1]))
            counts[start:stop] = True
    return ids, counts


def _shared(ids: np.ndarray, beginning: list[int]) -> int:
    """Return how many ids are those of a beginning: all of them, but that the last token may reach over its end."""
    shared = num_shared(ids, np.array(beginning, np.int64))
    if shared < len(beginning) - 1:
        raise InputError(
            "the chat template writes messages otherwise when others follow, so answers cannot be told from the rest"
        )
    return shared
