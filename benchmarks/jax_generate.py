"""Decoding under JAX beside NumPy: tokens per second of a Session, and of a whole greedy answer in one `lax.while_loop`.

    python benchmarks/jax_generate.py [--shape smollm2] [--tokens 100] [--rounds 3]

The weights are random, so no end token comes early. The loop is here to be measured alone: it gives the same tokens.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

from numformer import Llama
from numformer.autograd import inference
from numformer.generation import SamplingConfig, Session
from numformer.jax.rows import programs_of

PROMPT, ROOM = 32, 256
SHAPES = {
    "small": {"vocab_size": 512, "d_model": 128, "num_heads": 4, "num_layers": 4, "max_seq_len": 256},
    "smollm2": {
        **{"vocab_size": 49152, "d_model": 576, "num_heads": 9, "num_kv_heads": 3, "num_layers": 30, "d_ff": 1536},
        **{"max_seq_len": 8192, "tie_embeddings": True},
    },
}


def by_session(model, prompt, count, backend):
    """Return the tokens of a greedy answer, and the seconds per token after the first two."""
    session, ids = Session(model, 1, backend=backend), []
    session.admit(prompt, SamplingConfig(temperature=0.0))
    for number in range(count):
        if number == 2:
            start = time.perf_counter()
        ids.append(session.step()[0].id)
    return ids, (time.perf_counter() - start) / (count - 2)


def make_loop(model, count):
    """Return a compiled function that continues a cache by `count` greedy tokens without leaving the device."""
    programs = programs_of(model)

    def loop(parameters, stores, token, length):
        def body(state):
            number, stores, token, length, found = state
            found = found.at[number].set(token[0, 0])
            logits, stores = programs.forward(
                parameters, stores, token, length, jnp.zeros(1, jnp.int32), room=ROOM, source_room=0
            )
            return number + 1, stores, jnp.argmax(logits, axis=-1, keepdims=True).astype(jnp.int32), length + 1, found

        first = (jnp.int32(0), stores, token, length, jnp.zeros(count, jnp.int32))
        return jax.lax.while_loop(lambda state: state[0] < count, body, first)[-1]

    return jax.jit(loop)


def by_loop(model, loop, prompt, count):
    """Return the tokens of a greedy answer, and the seconds per token of the loop, which makes all after the first two."""
    session = Session(model, 1, backend="jax")
    session.admit(prompt, SamplingConfig(temperature=0.0))
    ids = [session.step()[0].id for _ in range(2)]
    rows = session._rows
    start = time.perf_counter()
    with inference():
        found = loop(rows.parameters, rows.stores, jnp.array([ids[-1:]], jnp.int32), jnp.array(rows.lengths))
    ids += np.asarray(found)[1:].tolist()
    return ids, (time.perf_counter() - start) / (count - 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shape", choices=SHAPES, default="smollm2")
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    model = Llama(**SHAPES[options.shape])
    prompt, count = np.random.default_rng(0).integers(0, model.config.vocab_size, PROMPT), options.tokens
    loop = make_loop(model, count - 1)
    ways = {
        "numpy, a step at a time": lambda: by_session(model, prompt, count, "numpy"),
        "jax, a step at a time": lambda: by_session(model, prompt, count, "jax"),
        "jax, all in a while_loop": lambda: by_loop(model, loop, prompt, count),
    }
    print(f"{options.shape}, batch 1, {count} tokens, {jax.devices()[0]}, jax {jax.__version__}")
    for way in ways.values():
        way()  # compiles
    best, answers = dict.fromkeys(ways, float("inf")), {}
    for _ in range(options.rounds):  # the ways take turns, so that all see the same machine
        for name, way in ways.items():
            answers[name], seconds = way()
            best[name] = min(best[name], seconds)
    for name, seconds in best.items():
        same = "the same tokens" if answers[name] == answers["numpy, a step at a time"] else "OTHER TOKENS"
        print(f"{name:<26} {1 / seconds:8.1f} tokens/s  {same}")


if __name__ == "__main__":
    main()
