"""Schemes by which tags of words mark entities: the letter before the hyphen says where in an entity of a type a word is."""

import re
from collections.abc import Iterable, Mapping, Sequence

TAG = re.compile(r"([BIMELSU])(?:-(.+))?")
ONE_TYPE = "entity"  # what an entity is called whose tags are bare letters

# Each letter as one of IOBES: BILOU has L(ast) and U(nit), BMES has M(iddle).
_LETTERS = {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S"}


def split_tag(tag: str) -> tuple[str, str]:
    """Return a tag's letter, as IOBES has it, and its type: ("E", "PER") for "L-PER", ("O", "") for what marks nothing."""
    match = TAG.fullmatch(tag)
    return (_LETTERS[match[1]], match[2] or ONE_TYPE) if match else ("O", "")


def mark_entities(tags: Iterable[str]) -> bool:
    """Tell whether a set of tags marks entities: O, and others that are all a letter, mostly with a type behind it.

    Bare letters must have a B or an I among them.
    """
    others = set(tags)
    if "O" not in others or len(others) == 1:
        return False
    others.remove("O")
    return all(map(TAG.fullmatch, others)) and (any("-" in tag for tag in others) or not others.isdisjoint("BI"))


def spoiling_tags(counts: Mapping[str, int]) -> list[str]:
    """Return the tags, of one in twenty words at most, without which the others would mark entities; none where they do."""
    spoilt = [tag for tag in counts if tag != "O" and not TAG.fullmatch(tag)]
    few = 20 * sum(counts[tag] for tag in spoilt) <= sum(counts.values())
    return spoilt if few and not mark_entities(counts) and mark_entities(set(counts) - set(spoilt)) else []


def tag_scheme(sentences: Iterable[Sequence[str]]) -> str | None:
    """Return the name of the scheme in which the tags of sentences mark entities, None where they mark none.

    In BIO (IOB2) every entity begins with B, in IOB1 only one that follows another of its type at once, in IO none does.
    IOBES, BILOU and BMES also mark the last word of an entity and an entity of one word.
    """
    tags: set[str] = set()
    inside = alone = together = 0
    for sentence in sentences:
        before = ("O", "")
        for tag in sentence:
            letter, type_ = split_tag(tag)
            follows = before[0] != "O" and before[1] == type_
            inside += letter == "I" and not follows  # an entity that begins with I
            alone += letter == "B" and not follows
            together += letter == "B" and follows
            before = letter, type_
        tags.update(sentence)
    if not mark_entities(tags):
        return None
    letters = {tag[0] for tag in tags}
    for name, own in (("BILOU", "LU"), ("BMES", "M"), ("IOBES", "ES")):
        if not letters.isdisjoint(own):
            return name
    if not alone and not together:
        return "IO"
    return "IOB1" if inside and not alone else "BIO"
