"""Generated data on which a small model learns its task within minutes, and every answer is known."""

from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from itertools import product

import numpy as np

from numformer.data.pairs.reader import Pair
from numformer.data.squad import Question
from numformer.errors import InputError
from numformer.random import generator

MAX_LETTERS = 12
MAX_DIGITS = 3
MAX_SUMS = 500_000  # half of those that exist; the last ones would take ever longer to draw
HELD_OUT_LENGTH = 4  # the few shorter sources are all for training
KEYS = tuple(map("".join, product("bdklmnprst", "ao", "kmnrt", "ai")))  # 200 words such as "baka" and "toni"
NUM_VALUES = 400


def make_toy_pairs(name: str, count: int, seed: int, exclude: AbstractSet[str] = frozenset()) -> list[Pair]:
    """Return `count` pairs of one of TOYS with distinct sources, none of them in `exclude`.

    The sources of identity, reverse and sort are words of 1 to 12 letters, those of addition, such as "123+45", have
    numbers of 1 to 3 digits; every length is equally likely until its sources are used up. Raises InputError for
    another name, a negative count or seed, and more sums than can be drawn.
    """
    return _draw(name, count, generator(seed), exclude)


def toy_splits(
    name: str, num_train: int, num_valid: int, num_test: int, seed: int
) -> tuple[list[Pair], list[Pair], list[Pair]]:
    """Return training, validation and test pairs of one of TOYS, no source in two of them.

    Sources of fewer than 4 characters, of which there are few, are for training only. Raises InputError as
    make_toy_pairs does.
    """
    valid = _draw(name, num_valid, generator(seed, 1), shortest=HELD_OUT_LENGTH)
    held_out = {source for source, _ in valid}
    test = _draw(name, num_test, generator(seed, 2), held_out, shortest=HELD_OUT_LENGTH)
    held_out |= {source for source, _ in test}
    return make_toy_pairs(name, num_train, seed, held_out), valid, test


def make_key_value_questions(count: int, seed: int, num_pairs: int = 8) -> list[Question]:
    """Return questions such as "toni" on contexts such as "baka 7 . toni 42 .", answered by the key's value.

    A context has `num_pairs` pairs, three words each, with distinct keys. Raises InputError for a negative count or
    seed, and when num_pairs is not in 1..200.
    """
    _check_count(count)
    if not 1 <= num_pairs <= len(KEYS):
        raise InputError(f"num_pairs must be in 1..{len(KEYS)}, got {num_pairs}")
    rng = generator(seed)
    return [_key_value_question(f"{seed}-{i}", rng, num_pairs) for i in range(count)]


def _key_value_question(name: str, rng: np.random.Generator, num_pairs: int) -> Question:
    keys = [KEYS[i] for i in rng.choice(len(KEYS), size=num_pairs, replace=False)]
    values = rng.integers(NUM_VALUES, size=num_pairs)
    facts = [f"{key} {value} ." for key, value in zip(keys, values, strict=True)]
    asked = int(rng.integers(num_pairs))
    start = sum(len(fact) + 1 for fact in facts[:asked]) + len(f"{keys[asked]} ")
    return Question(name, keys[asked], " ".join(facts), ((str(values[asked]), start),))


def _words(rng: np.random.Generator) -> Iterator[str]:
    while True:
        lengths = rng.integers(1, MAX_LETTERS + 1, size=1024)
        letters = rng.integers(ord("a"), ord("z") + 1, size=(1024, MAX_LETTERS), dtype=np.uint8)
        for length, row in zip(lengths, letters, strict=True):
            yield row[:length].tobytes().decode()


def _sums(rng: np.random.Generator) -> Iterator[str]:
    while True:
        digits = rng.integers(1, MAX_DIGITS + 1, size=(1024, 2))
        lowest = np.where(digits > 1, 10 ** (digits - 1), 0)
        for a, b in rng.integers(lowest, 10**digits).tolist():
            yield f"{a}+{b}"


# What draws the sources of a task without end, and what answers one.
_TASKS: dict[str, tuple[Callable[[np.random.Generator], Iterator[str]], Callable[[str], str]]] = {
    "identity": (_words, lambda word: word),
    "reverse": (_words, lambda word: word[::-1]),
    "sort": (_words, lambda word: "".join(sorted(word))),
    "addition": (_sums, lambda terms: str(sum(map(int, terms.split("+"))))),
}
TOYS = tuple(_TASKS)


def _draw(
    name: str, count: int, rng: np.random.Generator, exclude: AbstractSet[str] = frozenset(), shortest: int = 1
) -> list[Pair]:
    """Return pairs with distinct sources of at least `shortest` characters."""
    if name not in TOYS:
        raise InputError(f"there is no toy task {name!r} (known are {', '.join(TOYS)})")
    _check_count(count)
    if name == "addition" and count + len(exclude) > MAX_SUMS:
        raise InputError(f"addition has at most {MAX_SUMS} pairs to give, got {count + len(exclude)} to draw")
    draw, solve = _TASKS[name]
    sources, pairs = draw(rng), dict[str, str]()
    while len(pairs) < count:
        source = next(sources)
        if len(source) >= shortest and source not in exclude:
            pairs[source] = solve(source)
    return list(pairs.items())


def _check_count(count: int) -> None:
    if count < 0:
        raise InputError(f"a count must be at least 0, got {count}")
