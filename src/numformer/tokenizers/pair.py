"""Two tokenizers side by side, for a source and a target with vocabularies of their own."""

from __future__ import annotations

from pathlib import Path

from numformer.tokenizers.base import Tokenizer
from numformer.tokenizers.saved import load_tokenizer, save_tokenizer

SOURCE_FILE = "source_tokenizer.json"


class TokenizerPair:
    """A source's and a target's tokenizer, saved as source_tokenizer.json and tokenizer.json."""

    def __init__(self, source: Tokenizer, target: Tokenizer) -> None:
        self.source, self.target = source, target

    def save(self, path: str | Path) -> None:
        """Write both into the folder `path`; one tokenizer for both as tokenizer.json alone."""
        if self.source is self.target:
            (Path(path) / SOURCE_FILE).unlink(missing_ok=True)
        else:
            save_tokenizer(self.source, Path(path) / SOURCE_FILE)
        save_tokenizer(self.target, path)

    @classmethod
    def load(cls, path: str | Path) -> TokenizerPair:
        """Read the pair of a folder; without a source's file one tokenizer serves both."""
        target = load_tokenizer(path)
        file = Path(path) / SOURCE_FILE
        return cls(load_tokenizer(file) if file.exists() else target, target)
