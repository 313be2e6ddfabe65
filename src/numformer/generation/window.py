"""The rule past the context length, kept in this one place.

When a sequence outgrows `max_seq_len`, its oldest half-context is dropped and the rest is read again from position 0, so
the model always sees between half a context and a whole one. That costs one pass over half a context every half-context
tokens. `generate` follows the rule; a `Session` does so when it is told to (`sliding=True`).
"""


def window_start(length: int, max_seq_len: int) -> int:
    """Return how many of the first tokens of a sequence of `length` are no longer seen."""
    half = max(1, max_seq_len // 2)
    return max(0, -(-(length - max_seq_len) // half) * half)
