"""Documents: which words are counted, what is held out, and what cannot be used."""

import pytest
import torch

from reparam.data import DataError, docstrings, text
from reparam.data.split import fixed_permutation
from reparam.data.text import Corpus, load_corpus

LETTERS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]
ALL = {"min_documents": 1, "max_share": 1}


def write(path, *documents):
    """A file with one document a line."""
    path.write_text("\n".join(documents), encoding="utf-8")
    return path


def counted(corpus, part="train"):
    """The documents of a part as dictionaries of their words' counts."""
    rows = getattr(corpus, part).int().tolist()
    return [{w: n for w, n in zip(corpus.words, row, strict=True) if n} for row in rows]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package in place of those whose docstrings are read, of which three words suffice."""
    root = tmp_path / "documented"
    (root / "tests").mkdir(parents=True)
    (root / "__init__.py").write_text('"""What it\n>>> print(1)\n... is for."""')
    (root / "tests" / "test_it.py").write_text('"""A test is no document."""')
    (root / "module.py").write_text(
        "class Thing:\n"
        '    """A thing that is."""\n'
        "    def use(self):\n"
        '        """Use it so."""\n'
        '        """And a string that is no docstring."""\n'
        "def make():\n"
        '    """What a function does.\n    >>> make()\n    1 is what it makes."""\n'
        "def again():\n"
        '    """Use it so."""\n'
        "def short():\n"
        '    """Too short."""\n'
        "def silent(): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(docstrings, "PACKAGES", ("documented",))
    monkeypatch.setattr(docstrings, "LEAST_WORDS", 3)
    return root


@pytest.mark.usefixtures("package")
def test_docstrings_are_prose_in_order_and_once():
    """From the top of each file, by its name; no tests, no code, no copies, nothing short."""
    assert docstrings.docstrings() == [
        "A thing that is.",
        "Use it so.",
        "What a function does.\n1 is what it makes.",
    ]


def test_the_built_in_corpus_is_real():
    """Thousands of documents, a tenth held out, of words that the packages speak of."""
    corpus = load_corpus("docstrings", vocabulary=1500)
    count = len(corpus.train) + len(corpus.test)
    assert count > 3000
    assert count // 10 - 30 < len(corpus.test) <= count // 10
    assert len(corpus.words) == corpus.train.shape[1] == corpus.test.shape[1] == 1500
    assert {"cluster", "eigenvalues", "hypothesis", "spline"} <= set(corpus.words)
    assert corpus.train.sum(1).min() >= 1
    assert corpus.name == "docstrings"


def test_words_are_counted(tmp_path):
    """Lower case and accents kept apart; no stop words, no short words, no parts of identifiers."""
    said = "Alpha ALPHA beta, the of n_samples x2 ab gamma-delta été it's " + " ".join(LETTERS[4:])
    corpus = load_corpus(write(tmp_path / "own.txt", said, said), **ALL)
    (document,) = counted(corpus)
    assert document == {**dict.fromkeys(LETTERS, 1), "alpha": 2, "été": 1}
    assert counted(corpus, "test") == [document]
    assert corpus.words == sorted(corpus.words)
    assert corpus.train.dtype == torch.float32


def test_a_folder_has_a_document_in_each_file(tmp_path):
    """By the order of their paths, whatever their suffix; notes of the file system do not count."""
    (tmp_path / "deep").mkdir()
    names = [f"{n:02}" for n in range(19)] + ["deep/last.md"]
    for number, name in enumerate(names):
        write(tmp_path / name, " ".join(LETTERS), "kappa " * number)
    (tmp_path / ".DS_Store").write_bytes(b"\xff\0")
    corpus = load_corpus(tmp_path, **ALL)
    kappa = list(corpus.words).index("kappa")
    order = fixed_permutation(20)
    assert (corpus.test[:, kappa] - 1).tolist() == order[:2].tolist()
    assert (corpus.train[:, kappa] - 1).tolist() == order[2:].tolist()
    assert corpus.name == tmp_path.name
    assert corpus.note.startswith("18 training and 2 test documents, held out by a fixed")
    assert corpus.note.endswith("words each from a vocabulary of 10.")


def test_the_vocabulary_is_that_of_the_training_documents(tmp_path):
    """A word of the held-out document alone is not in it."""
    held, *rest = fixed_permutation(9).tolist()
    lines = [" ".join(LETTERS)] * 9
    lines[held] += " unseen"
    lines[rest[0]] += " seen"
    corpus = load_corpus(write(tmp_path / "own.txt", *lines), **ALL)
    assert set(corpus.words) == {*LETTERS, "seen"}


def test_frequent_words_are_kept_and_too_frequent_ones_are_not(tmp_path):
    """By the number of documents at both ends, then by the number of occurrences."""
    numbers = range(40)
    lines = [" ".join(LETTERS) if n % 2 else "omega " * (1 + n % 3) for n in numbers]
    first, second, third = fixed_permutation(40).tolist()[4:7]
    lines[first] += " double"
    lines[second] += " double"
    lines[third] += " single single single"
    path = write(tmp_path / "own.txt", *(line + " common" for line in lines))

    def words(**given):
        return set(load_corpus(path, **given).words)

    assert words(min_documents=2, max_share=0.9) == {*LETTERS, "omega", "double"}
    assert words(min_documents=1, max_share=1) == {
        *LETTERS,
        *["omega", "common", "single", "double"],
    }
    assert words(min_documents=3, max_share=0.9) == {*LETTERS, "omega"}
    kept = words(min_documents=2, max_share=1, vocabulary=12)
    assert kept == {*LETTERS, "omega", "common"}


def test_empty_documents_are_left_out(tmp_path):
    """Blank ones before the split, those without a word of the vocabulary after it."""
    lines = [" ".join(LETTERS)] * 30
    for held_out in fixed_permutation(30)[[0, 10, 20]].tolist():
        lines[held_out] = "42 the"
    corpus = load_corpus(write(tmp_path / "own.txt", "", *lines, "  \t", ""), **ALL)
    assert (len(corpus.train), len(corpus.test)) == (25, 2)


def test_a_byte_order_mark_is_no_word(tmp_path):
    """As some editors write it."""
    (tmp_path / "own.txt").write_bytes(
        b"\xef\xbb\xbf" + "\n".join([" ".join(LETTERS)] * 4).encode()
    )
    assert load_corpus(tmp_path / "own.txt", **ALL).train.shape == (3, 10)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "own: expected text files, one for each document, got none"),
        ({".hidden": b"alpha"}, "own: expected text files, .*got none"),
        ({"a": b"alpha", "b": b"\x89PNG"}, "b: expected text in UTF-8, got byte 0x89 at 0; conv"),
        ({"a": "naïve".encode("latin-1")}, "a: expected text in UTF-8, got byte 0xef at 2"),
        ({"a": "alpha".encode("utf-16-le")}, "a: expected text, got NUL bytes; move it away"),
        ({"a": b"alpha"}, "own: expected at least 2 documents, .*got 1 that are not empty"),
        ({"a": b"", "b": b" \n", "c": b"x"}, "own: expected at least 2 documents, .*got 1 that"),
        ({"a": b"", "b": b""}, "own: expected at least 2 documents, .*got 0 that are not empty"),
        ({"a": b"the", "b": b"of"}, "own: expected at least 10 words .*, got 0; lower --min-d"),
        ({"a": b"one", "b": b"oak elm"}, "own: expected at least 10 words that occur in 1 .*, got"),
    ],
)
def test_unusable_files_are_refused(files, message, tmp_path):
    """Each fault is named with its file or folder, what was expected and what came."""
    folder = tmp_path / "own"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_corpus(folder, **ALL)


def test_too_small_a_vocabulary_says_why(tmp_path):
    """With the limits that were asked for; also where they exclude each other."""
    path = write(tmp_path / "own.txt", *[" ".join(LETTERS)] * 20)
    limits = "5 or more of the 18 training documents and in at most 50% of them, got 0; lower"
    with pytest.raises(
        DataError, match=rf"own.txt: expected at least 10 words that occur in {limits}"
    ):
        load_corpus(path, max_share=0.5)
    with pytest.raises(
        DataError, match=r"in 19 or more of the 18 training documents .*got 0; lower"
    ):
        load_corpus(path, min_documents=19, max_share=1)


def test_documents_without_a_known_word_are_no_test(tmp_path):
    """If none is left to test on, that is said."""
    held, *_ = fixed_permutation(9).tolist()
    lines = [" ".join(LETTERS)] * 9
    lines[held] = "unknown"
    with pytest.raises(DataError, match=r"own.txt: expected test documents with words .*got none"):
        load_corpus(write(tmp_path / "own.txt", *lines), **ALL)


def test_an_unknown_source_is_refused():
    """With the names and the kinds of path there are."""
    with pytest.raises(FileNotFoundError, match=r"expected docstrings, or a path .*got 'doc'"):
        load_corpus("doc")


def test_a_path_of_a_name_is_a_path(tmp_path, monkeypatch):
    """A `Path` is never a name; a name is never a folder."""
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "docstrings", *[" ".join(LETTERS)] * 4)
    monkeypatch.setitem(text.NAMED, "docstrings", lambda: [" ".join(LETTERS)] * 12)
    assert len(load_corpus(path.relative_to(tmp_path), **ALL).train) == 3
    assert len(load_corpus("docstrings", **ALL).train) == 11


def test_a_batch_is_the_rows_asked_for():
    """In their order; nothing is drawn."""
    corpus = Corpus("tiny", LETTERS, torch.arange(30.0).view(3, 10), torch.ones(1, 10))
    assert torch.equal(corpus.batch(torch.tensor([2, 0])), corpus.train[[2, 0]])
