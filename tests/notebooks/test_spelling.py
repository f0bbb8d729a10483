"""The prose is spelt as English is, British where the two differ.

pyspellchecker knows the words of American English; `words.txt` beside this file adds the
project's own: terms, names and British forms, one a line, sorted, lower case. A word of one
or two letters is a symbol and not looked at, and neither are code and formulas.
"""

from pathlib import Path

import nbformat
import pytest
from spellchecker import SpellChecker

from tests.notebooks import prose
from tests.notebooks.files import NOTEBOOKS, ROOT

OURS = Path(__file__).with_name("words.txt").read_text(encoding="utf-8").splitlines()
TEXTS = [
    *NOTEBOOKS,
    ROOT / "README.md",
    ROOT / "ARCHITECTURE.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "results" / "README.md",
    ROOT / "data_scripts" / "README.md",
    *sorted((ROOT / "hyperlab" / "pretrained").glob("*.md")),
]
AMERICAN = {"our": "or", "is": "iz", "tred": "tered", "lling": "ling"}
ENGLISH = SpellChecker("en", distance=1).word_frequency


def spelt(path):
    """The words of a file, lower case, without a possessive s."""
    is_notebook = path.suffix == ".ipynb"
    text = (
        prose.text(nbformat.read(path, as_version=4))
        if is_notebook
        else path.read_text(encoding="utf-8")
    )
    return plain(text)


def plain(text):
    words = (word.lower().replace("’", "'") for word in prose.words(text))
    return {word.removesuffix("'s") for word in words if len(word) > 2}


def american():
    """The American twins of our British words."""
    twins = {word.replace(*pair) for word in OURS for pair in AMERICAN.items()}
    return twins - set(OURS)


def misspelt(words):
    return {word for word in words if word not in ENGLISH and word not in OURS} | (
        words & american()
    )


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_text_is_spelt_right(path):
    assert not misspelt(spelt(path))


@pytest.mark.parametrize(
    "word",
    [
        "recieve",
        "seperate",
        "occured",
        "gradeint",
        "trajectroy",
        "hypreflow",
        "color",
        "neighbor",
        "initialize",
    ],
)
def test_a_misspelt_or_american_word_is_found(word):
    assert misspelt(plain(f"Here is *{word}*, and the task’s loss in `{word}x`.")) == {word}


def test_words_of_our_own_are_sorted_lower_case_new_and_used():
    used = set().union(*map(spelt, TEXTS))
    assert sorted({word.lower() for word in OURS}) == OURS
    assert not [word for word in OURS if word in ENGLISH]
    assert not set(OURS) - used
