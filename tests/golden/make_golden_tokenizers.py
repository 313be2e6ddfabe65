"""Write tokenizers.json: the ids that Transformers gives awkward strings, by tokenizers whose files lie in the shared data.

In a Python with transformers: `python tests/golden/make_golden_tokenizers.py DATA`.
"""

import json
import sys
import tempfile
from pathlib import Path

import transformers

import tokenizers

HERE = Path(__file__).parent
STRINGS = [
    *("", " ", "  ", "\n", "\t\n ", "a", " a", "a ", "Hello, world!", "hello   world", "I'll can't he'd WE'VE it’s"),
    *("12345678901234567890", "3.14e-10", "1,000,000", "x=y**2+3*(z//4)", "snake_case camelCase SCREAMING"),
    *("https://example.org/a?b=c&d=e#f", "e\u0301 é É", "naïve café Straße İstanbul ﬁ", "Ångström Å", "Ⅻ ½ ²"),
    *("日本語のテキスト", "中文字符，标点。", "한국어 문장", "สวัสดีครับ", "עברית", "العَرَبِيَّة", "हिन्दी", "Ελληνικά ς Σ"),
    *(
        "👋🏽 👩‍👩‍👧 🇫🇷",
        "a\u200bb\u200dc\ufeff",
        "a\u00a0b\u2003c\u3000d",
        "\u2028line\u2029sep",
        "x\u0000y\u0007z",
        "\r\n\r",
    ),
    *("�\ud7ff", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "…—–‘’“”", "-" * 70, "a" * 150, "##ing ##", "unbelievablyextraordinarilyhyphenated"),
    *(
        "<|endoftext|>",
        "a<|endoftext|>b",
        "[MASK]",
        "the [MASK] of [CLS] [SEP]",
        "<s>",
        "x </s> y",
        "<unk>",
        "[unused5]",
    ),
    *("def f(x):\n    return x  # done\n\n\n\tend", "Once upon a time, there was a little girl named Lily."),
]


def folders(data, at):
    """Make the folders of three tokenizers from the shared files, and return them by name."""
    gpt2, bert = at / "gpt2", at / "bert"
    for folder in (gpt2, bert):
        folder.mkdir()
    (gpt2 / "vocab.json").write_bytes((data / "tok" / "gpt2" / "encoder.json").read_bytes())
    (gpt2 / "merges.txt").write_bytes((data / "tok" / "gpt2" / "vocab.bpe").read_bytes())
    (gpt2 / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')
    (bert / "vocab.txt").write_bytes((data / "tok" / "bert" / "bert_base_uncased_vocab.txt").read_bytes())
    (bert / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "do_lower_case": true}')
    return {"gpt2": gpt2, "bert": bert, "stories260K": data / "ckpt" / "stories260K"}


def main():
    """Write the ids, with the versions that gave them."""
    found = {}
    with tempfile.TemporaryDirectory() as at:
        for name, folder in folders(Path(sys.argv[1]), Path(at)).items():
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
            found[name] = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in STRINGS]
    versions = {"transformers": transformers.__version__, "tokenizers": tokenizers.__version__}
    content = {"versions": versions, "strings": STRINGS, "ids": found}
    (HERE / "tokenizers.json").write_text(json.dumps(content) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
