"""Write the golden files of the encoders, as transformers has them, one file per architecture.

Run: python tests/golden/make_golden_encoders.py     (any Python with torch, transformers and numformer itself)

A case is a head, and after an underscore what is particular about the model; a head of a pair of texts is given segments. The
"logits" of a Model are its vectors. All else is as in make_golden_architectures.py.
"""

import math
import re
import tempfile
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
import transformers
from make_golden import FOLDER, Arrays, float32, save
from make_golden_architectures import saved
from make_golden_models import PAD, compact, gradients, logits_of, padded, randomise
from torch import nn

from numformer.models.build import build_backbone, build_model
from numformer.models.registry import ARCHITECTURES
from numformer.pretrained import save_model

BERT = {"vocab_size": 17, "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 12}
BERT |= {"max_position_embeddings": 13, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
BERT |= {"classifier_dropout": 0.0, "pad_token_id": PAD}
ROBERTA = BERT | {"type_vocab_size": 1, "layer_norm_eps": 1e-5, "bos_token_id": None, "eos_token_id": None}
DISTIL = {"vocab_size": 17, "dim": 8, "n_heads": 2, "n_layers": 2, "hidden_dim": 12, "max_position_embeddings": 12}
DISTIL |= {"dropout": 0.0, "attention_dropout": 0.0, "qa_dropout": 0.0, "seq_classif_dropout": 0.0, "pad_token_id": PAD}
KEYS = {"bert": BERT, "roberta": ROBERTA, "distilbert": DISTIL}
HEADS = {"MaskedLM": "mlm", "SequenceClassification": "classify", "TokenClassification": "tag"}
HEADS |= {"QuestionAnswering": "qa", "Model": ""}
PAIRS = ("SequenceClassification_pair", "TokenClassification_pair", "QuestionAnswering_pair", "Model_pair")
OTHERS: dict[str, dict[str, dict]] = {  # of each model_type, besides one with each head
    "bert": {
        **{case: {} for case in PAIRS},
        "MaskedLM_relu": {"hidden_act": "relu", "layer_norm_eps": 1e-3, "num_attention_heads": 4},
        "MaskedLM_one_segment": {"type_vocab_size": 1},
    },
    "roberta": {
        "MaskedLM_pad": {"pad_token_id": 1, "hidden_act": "gelu_new"},
        "SequenceClassification_pair": {"type_vocab_size": 2},
    },
    "distilbert": {
        "MaskedLM_relu": {"activation": "relu", "n_heads": 4},
        "Model_sinusoidal": {"sinusoidal_pos_embds": True},
    },
}


def cases_of(model_type: str) -> Iterator[tuple[str, str, dict]]:
    """Every case of an architecture, its head, and its keys."""
    for case, keys in ({head: {} for head in HEADS} | OTHERS[model_type]).items():
        yield case, case.partition("_")[0], KEYS[model_type] | keys


def make_model(model_type: str, head: str, keys: dict) -> nn.Module:
    labels = 2 if head == "QuestionAnswering" else 5
    config = transformers.AutoConfig.for_model(model_type, **keys, num_labels=labels)
    config._attn_implementation = "eager"
    kind = class_of(model_type, head)
    return kind(config, add_pooling_layer=False) if has_pooler(model_type, head) else kind(config)


def class_of(model_type: str, head: str) -> type:
    name = head if head == "Model" else f"For{head}"
    return getattr(transformers, ARCHITECTURES[model_type].class_prefix + name)


def has_pooler(model_type: str, head: str) -> bool:
    """Whether transformers would add a pooler, which no vector of a text goes through."""
    return head == "Model" and model_type != "distilbert"


def outputs(model: nn.Module, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """The logits of a model, or its vectors where it has no head."""
    result = model(**inputs)
    return result.last_hidden_state if "last_hidden_state" in result else logits_of(result)


def make_inputs(tokens: np.ndarray, case: str) -> Arrays:
    found: Arrays = {"input_ids": tokens, "attention_mask": (tokens != PAD).astype(np.int64)}
    if case.endswith("_pair"):
        found["token_type_ids"] = np.broadcast_to(np.arange(tokens.shape[1]) >= 4, tokens.shape).astype(np.int64)
    return found


def make_architecture(model_type: str) -> None:
    rng = np.random.default_rng(16)
    tokens = padded(rng, [11, 7, 9], 17)
    tokens[tokens == 1] = 2  # where 1 is padding, it stands in no text
    mask = (tokens != PAD).astype(np.int64)
    arrays: Arrays = {"tokens": tokens}
    config: dict[str, dict] = {}
    for case, head, keys in cases_of(model_type):
        model = randomise(make_model(model_type, head, keys), rng).eval()
        written, weights = saved(model)
        inputs = make_inputs(tokens, case)
        logits = outputs(model, {name: torch.tensor(value) for name, value in inputs.items()})
        dlogits = float32(rng.normal(size=tuple(logits.shape)))
        if logits.ndim == 3:  # padding gets no gradient
            dlogits *= mask[:, None] if head == "QuestionAnswering" else mask[..., None]
        logits.backward(torch.tensor(dlogits))
        arrays |= {f"{case}.weight.{name}": value for name, value in weights.items()}
        arrays |= {f"{case}.logits": logits.detach().numpy(), f"{case}.dlogits": dlogits}
        arrays[f"{case}.grad"] = gradients(model)
        if "token_type_ids" in inputs:
            arrays[f"{case}.segments"] = inputs["token_type_ids"]
        config[case] = {"keys": written, "differentiated": sorted(name for name, _ in model.named_parameters())}
    save(f"{model_type}_family" if model_type == "bert" else model_type, compact(arrays), config)


def check_transformers_reads_ours(model_type: str) -> Iterator[float]:
    """Yield how far apart the logits are of models that numformer saved and transformers loaded, as shares of the largest."""
    rng = np.random.default_rng(17)
    tokens = padded(rng, [11, 7, 9], 17)
    for case, head, keys in cases_of(model_type):
        written, _ = saved(make_model(model_type, head, keys))
        settings = {"labels": 5} if head.endswith("Classification") else {}
        settings |= {"pooling": "first"} if head == "SequenceClassification" else {}
        ours = ARCHITECTURES[model_type].config.from_disk(written)
        model = build_backbone(ours) if head == "Model" else build_model(ours, HEADS[head], **settings)
        for parameter in model.parameters():
            parameter.data[...] = rng.normal(size=parameter.shape) / math.sqrt(parameter.shape[-1])
        with tempfile.TemporaryDirectory() as folder:
            save_model(model.eval(), folder)
            load = partial(class_of(model_type, head).from_pretrained, folder, output_loading_info=True)
            theirs, report = load(add_pooling_layer=False) if has_pooler(model_type, head) else load()
        assert not any(report.values()), f"{model_type} {case}: {report}"
        for row in tokens:
            inputs = make_inputs(row[row != PAD][None], case)
            segments = {"segments": inputs["token_type_ids"]} if "token_type_ids" in inputs else {}
            with torch.no_grad():
                expected = outputs(theirs.eval(), {name: torch.tensor(value) for name, value in inputs.items()}).numpy()
            yield float(abs(model(inputs["input_ids"], **segments).data - expected).max() / abs(expected).max())


def record(first_words: str, differences: dict[str, list[float]]) -> None:
    """Write into README.md how the folders of numformer fared in transformers."""
    texts = [f"{name} {len(each)} texts, {max(each):.1g}" for name, each in differences.items()]
    line = f"{first_words}, by transformers {transformers.__version__}: {'; '.join(texts)}."
    path = FOLDER / "README.md"
    path.write_text(re.sub(rf"^{first_words},.*$", line, path.read_text(), flags=re.MULTILINE))
    print(line)


if __name__ == "__main__":
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    for each in KEYS:
        make_architecture(each)
    record("Encoders read likewise", {each: list(check_transformers_reads_ours(each)) for each in KEYS})
