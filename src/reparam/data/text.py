"""Documents as counts of words: built-in, from a folder of text files, or the lines of one file.

```python
from reparam.data.text import load_corpus

corpus = load_corpus("docstrings")
batch = corpus.batch(torch.arange(32))  # (32, 2000), counts of corpus.words
```
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reparam.data.docstrings import docstrings
from reparam.data.extras import optional
from reparam.data.images import DataError
from reparam.data.split import fixed_permutation
from reparam.noise import Key

NAMED: dict[str, Callable[[], list[str]]] = {"docstrings": docstrings}
"""Built-in sources."""
LEAST_WORDS = 10
"""Of a vocabulary; as many show what a topic is about."""
WORD = r"\b[^\W\d_]{3,}\b"
"""Three letters or more of any alphabet, and no part of an identifier."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """Counts of words in the documents of a training and a test set.

    Args:
        name: what to call the set in a report and in errors.
        words: the vocabulary, V words in alphabetical order.
        train: counts of each in the training documents, float32, shape (N, V).
        test: the same of the test documents, shape (M, V).
        note: one sentence on what was counted and what the split is.

    Raises:
        DataError: if a set is empty.

    >>> corpus = Corpus("tiny", ["ash", "oak"], torch.eye(2), torch.ones(1, 2))
    >>> corpus.batch(torch.tensor([1]))
    tensor([[0., 1.]])
    """

    name: str
    words: Sequence[str] = field(repr=False)
    train: Tensor = field(repr=False)
    test: Tensor = field(repr=False)
    note: str = ""

    def __post_init__(self) -> None:
        for part, counts in (("training", self.train), ("test", self.test)):
            if not len(counts):
                raise DataError(
                    f"{self.name}: expected {part} documents with words of the vocabulary, got "
                    "none; lower --min-documents, raise --vocabulary, or add documents"
                )

    def batch(self, indices: Tensor, key: Key | None = None) -> Tensor:
        """Return the training counts at `indices`, shape (B, V).

        key: not used; it is what the training loop gives to every set.
        """
        return self.train[indices]


def load_corpus(
    source: str | Path, *, vocabulary: int = 2000, min_documents: int = 5, max_share: float = 0.1
) -> Corpus:
    """Return the documents of a source, a tenth of them held out by a fixed permutation.

    Words are in lower case; English stop words are left out, and so are documents without a word
    of the vocabulary, which is that of the training documents.

    Args:
        source: `"docstrings"`, or a path to a folder, in which every file is a document (but for
            those whose name begins with a dot), or to a file, in which every line is one. UTF-8.
        vocabulary: the largest number of words; the most frequent are kept.
        min_documents: a word occurs in at least so many training documents.
        max_share: and in at most this share of them, in (0, 1].

    Raises:
        FileNotFoundError: if there is no such name or path.
        DataError: if a file is no text, or too little is left to train on.
        ImportError: without scikit-learn.
    """
    name, documents = _read(source)
    documents = [text for text in documents if text.strip()]
    if len(documents) < 2:
        raise DataError(
            f"{name}: expected at least 2 documents, one to hold out for the test, got "
            f"{len(documents)} that are not empty"
        )
    shuffled = [documents[i] for i in fixed_permutation(len(documents)).tolist()]
    held = max(1, len(documents) // 10)
    counter = optional("sklearn.feature_extraction.text", "counting words").CountVectorizer(
        stop_words="english",
        token_pattern=WORD,
        max_features=vocabulary,
        min_df=min_documents,
        max_df=float(max_share),
        dtype="float32",
    )
    words = _vocabulary(counter, shuffled[held:], name)
    train, test = (_counts(counter, part) for part in (shuffled[held:], shuffled[:held]))
    note = (
        f"{len(train)} training and {len(test)} test documents, held out by a fixed permutation, "
        f"of {train.sum(1).mean():.0f} words each from a vocabulary of {len(words)}."
    )
    return Corpus(name, words, train, test, note)


def _read(source: str | Path) -> tuple[str, list[str]]:
    """The name of a source and its documents."""
    if isinstance(source, str) and source in NAMED:
        return source, NAMED[source]()
    path = Path(source).expanduser()
    if path.is_dir():
        return path.resolve().name, [_text(file) for file in _files(path)]
    if path.is_file():
        return path.name, _text(path).splitlines()
    raise FileNotFoundError(
        f"expected {', '.join(NAMED)}, or a path to a folder with a file for each document or to "
        f"a file with a line for each, got '{source}'"
    )


def _files(folder: Path) -> list[Path]:
    # Names with a leading dot are notes of the file system.
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and not p.name.startswith(".")]
    if not files:
        raise DataError(f"{folder}: expected text files, one for each document, got none")
    return files


def _text(path: Path) -> str:
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: expected text in UTF-8, got byte 0x{error.object[error.start]:02x} at "
            f"{error.start}; convert it, or move it away if it is no text"
        ) from None
    if "\0" in text:
        raise DataError(f"{path}: expected text, got NUL bytes; move it away if it is no text")
    return text


def _vocabulary(counter: Any, documents: list[str], name: str) -> list[str]:
    """The words that the counter will count, found in the training documents."""
    try:
        words: list[str] = counter.fit(documents).get_feature_names_out().tolist()
    except ValueError:  # that nothing is left, in several wordings
        words = []
    if len(words) < LEAST_WORDS:
        raise DataError(
            f"{name}: expected at least {LEAST_WORDS} words that occur in {counter.min_df} or more "
            f"of the {len(documents)} training documents and in at most {counter.max_df:.0%} of "
            f"them, got {len(words)}; lower --min-documents, raise --max-share, or add documents"
        )
    return words


def _counts(counter: Any, documents: list[str]) -> Tensor:
    """Counts `(N, V)` of the documents that have any."""
    counts = torch.from_numpy(counter.transform(documents).toarray())
    return counts[counts.any(1)]
