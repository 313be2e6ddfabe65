"""Texts to train on that are known by name: one that comes with Python, and ones to download."""

import os
import platform
import textwrap
from dataclasses import dataclass
from pathlib import Path

from numformer._files import write_atomically
from numformer.data.cache import cache_folders, writable_cache
from numformer.errors import InputError


@dataclass(frozen=True)
class Corpus:
    """A text known by name; `url` and `sha256` are empty for the one that comes with Python."""

    name: str
    description: str
    size: str
    licence: str
    source: str
    url: str = ""
    sha256: str = ""


CORPORA = {
    corpus.name: corpus
    for corpus in [
        Corpus(
            name="pydoc",
            description="the reference topics behind Python's help(), without tables; differs between Python versions",
            size="about 0.5 MB",
            licence="PSF-2.0",
            source="pydoc_data.topics, part of Python",
        ),
        Corpus(
            name="tinyshakespeare",
            description="40,000 lines from Shakespeare's plays",
            size="1.1 MB",
            licence="MIT; public-domain text",
            source="github.com/karpathy/char-rnn",
            url="https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
            sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        ),
    ]
}


def list_corpora() -> list[tuple[Corpus, bool]]:
    """Return every known text and whether it is on this machine."""
    return [(corpus, not corpus.url or _cached(corpus) is not None) for corpus in CORPORA.values()]


def find_corpus(data: str | Path) -> Path:
    """Return the file meant by a path, or by the name of a known text; a path that exists wins.

    Raises InputError when it is neither, and for a text that has to be fetched first.
    """
    path = Path(data)
    corpus = CORPORA.get(str(data))
    try:
        if path.is_file() or (corpus is None and path.exists()):
            return path
    except OSError:  # a name that no file can have
        corpus = None
    if corpus is None:
        name = textwrap.shorten(str(data), 120)
        raise InputError(f"there is no file {name}, and no text of that name (known are {', '.join(CORPORA)})")
    if not corpus.url:
        return fetch(corpus.name)
    if file := _cached(corpus):
        return file
    raise InputError(
        f"{data} is not on this machine yet: get it with `numformer data fetch {data}`, or set NUMFORMER_CACHE to the folder "
        "that has it"
    )


def fetch(name: str, folder: str | Path | None = None, url: str | None = None) -> Path:
    """Return the file of a known text, put into `folder` (the cache unless given) when it is not there yet.

    A download is kept only when its SHA-256 is the known one, from another `url` too. Raises InputError for an
    unknown name, a failed download, a wrong checksum, or a folder that cannot be written.
    """
    if name not in CORPORA:
        raise InputError(f"there is no text named {name!r} (known are {', '.join(CORPORA)})")
    corpus = CORPORA[name]
    file = _file(corpus, Path(folder) if folder else _folder(corpus))
    if corpus.url:
        _download(corpus, file, url or corpus.url)
    elif not file.exists():
        from pydoc_data.topics import topics

        text = "\n\n".join(topics[topic] for topic in sorted(topics))
        write_atomically(file, "".join(line for line in text.splitlines(keepends=True) if not _is_table(line)))
    return file


def _cached(corpus: Corpus) -> Path | None:
    """Return the file of a text in the cache, or in the temporary folder in its place; None where it is in neither."""
    files = [_file(corpus, folder) for folder in cache_folders()]
    return next((file for file in files if os.access(file, os.R_OK)), None)


def _folder(corpus: Corpus) -> Path:
    """Return the folder where a text is, or is to be fetched into."""
    found = _cached(corpus)
    return found.parent if found else writable_cache(corpus.name)


def _file(corpus: Corpus, folder: Path) -> Path:
    version = "" if corpus.url else f"-prose-{platform.python_version()}"
    return folder / f"{corpus.name}{version}.txt"


def _is_table(line: str) -> bool:
    return line.lstrip().startswith(("|", "+-", "+="))


def _download(corpus: Corpus, file: Path, url: str) -> None:
    try:
        import pooch
    except ImportError as error:
        raise InputError("downloading needs the package pooch: pip install 'numformer[download]'") from error
    try:
        pooch.retrieve(url, known_hash=f"sha256:{corpus.sha256}", fname=file.name, path=file.parent)
    except (OSError, ValueError) as error:
        raise InputError(f"could not fetch {corpus.name} from {url}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Return the reason of a failed download in a few words; the network library's own fill several lines."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"the server answered {response.status_code}"
    if isinstance(error, ValueError):  # pooch: a wrong checksum, or a URL it cannot read
        return str(error).split(". ")[0]
    return getattr(error, "strerror", None) or type(error).__name__
