"""Write pairs.safetensors: what Transformers makes of pairs of texts, by a small BERT and a small RoBERTa with a head.

Run: python tests/golden/make_golden_pairs.py     (any Python with torch, transformers and tokenizers)

It holds the weights of each model, and for every pair the ids and the segments, cut by `longest_first` where the pair is
longer than the context, and the logits in float64. The metadata hold the pairs and the files of the folder, by name.
"""

import json
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import transformers
from make_golden import FOLDER, save
from safetensors.numpy import load_file

import tokenizers

LENGTH = 16
TEXTS = [
    "the cat sat on the mat",
    "a dog barks at the cats",
    "the man reads a book in the sun",
    "no",
    "it is what it is",
]
LONG = " ".join(TEXTS)
PAIRS = [
    *pairwise(TEXTS),
    *((TEXTS[0], TEXTS[0]), (LONG, "no"), ("no", LONG), (LONG, LONG)),
    *((TEXTS[2], TEXTS[2] + " it"), (TEXTS[2] + " it", TEXTS[2])),
    *(("the cat", LONG), (LONG, "the cat sat on the"), ("", "no")),
]  # fmt: skip
SHAPE = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 12, "num_labels": 3}


def bert() -> tuple[transformers.PreTrainedTokenizerBase, torch.nn.Module]:
    words = sorted({word for text in TEXTS for word in text.split()} - {"cats", "barks"})
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, "##s", "bark"]
    tokenizer = transformers.BertTokenizerFast(vocab={word: number for number, word in enumerate(vocab)})
    config = transformers.BertConfig(**SHAPE, vocab_size=len(vocab), max_position_embeddings=LENGTH)
    return tokenizer, transformers.BertForSequenceClassification(config)


def roberta() -> tuple[transformers.PreTrainedTokenizerBase, torch.nn.Module]:
    trained = tokenizers.ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained.train_from_iterator(TEXTS * 3, vocab_size=290, special_tokens=special, show_progress=False)
    state = json.loads(trained.to_str())["model"]
    tokenizer = transformers.RobertaTokenizerFast(
        vocab=state["vocab"], merges=[tuple(each) for each in state["merges"]]
    )
    config = transformers.RobertaConfig(
        **SHAPE, vocab_size=len(tokenizer), max_position_embeddings=LENGTH + 2, type_vocab_size=1
    )
    return tokenizer, transformers.RobertaForSequenceClassification(config)


def golden(name: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the arrays of a model, and the text files of its folder."""
    torch.manual_seed(0)
    tokenizer, model = {"bert": bert, "roberta": roberta}[name]()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.3)
    tokenizer.model_max_length = LENGTH
    arrays, files = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        model.eval().save_pretrained(folder)
        weights = load_file(Path(folder) / "model.safetensors")
        arrays |= {f"weight.{key}": value for key, value in weights.items()}
        files = {path.name: path.read_text() for path in Path(folder).glob("*.json")}
    for number, pair in enumerate(PAIRS):
        read = tokenizer(
            *pair, truncation="longest_first", max_length=LENGTH, return_tensors="pt", return_token_type_ids=True
        )
        with torch.no_grad():
            logits = model.double()(**read).logits
        arrays |= {
            f"{number}.ids": read["input_ids"][0].numpy(),
            f"{number}.segments": read["token_type_ids"][0].numpy(),
        }
        arrays[f"{number}.logits"] = logits[0].numpy()
    return {f"{name}.{key}": value for key, value in arrays.items()}, files


if __name__ == "__main__":
    arrays, config = {}, {"pairs": PAIRS}
    for name in ("bert", "roberta"):
        own, config[name] = golden(name)
        arrays |= own
    save("pairs", arrays, config)
    print(f"written to {FOLDER}")
