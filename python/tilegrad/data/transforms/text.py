"""Augmentation of text: strings, or lists of strings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...generator import Generator
from .base import numpy_generator, probability

_WORD = re.compile(r"[^\W\d_]+", re.UNICODE)
_KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


class TextTransform:
    """Base of transforms of one string, or of each in a list; subclasses define ``word``, which
    may change a word."""

    def __init__(self, p: float) -> None:
        self.p = probability(type(self).__name__, p)

    def __call__(self, text: Any, generator: Generator | None = None) -> Any:
        rng = numpy_generator(generator)

        def changed(match: re.Match[str]) -> str:
            word = match.group()
            return self.word(word, rng) if rng.random() < self.p else word

        if isinstance(text, str):
            return _WORD.sub(changed, text)
        return [_WORD.sub(changed, t) for t in text]

    def word(self, word: str, rng: np.random.Generator) -> str:
        """Another word in the place of this one."""
        raise NotImplementedError(f"{type(self).__name__} does not define word()")


class SynonymReplacement(TextTransform):
    """Puts one of its synonyms in the place of a word with the chance p; synonyms maps words in
    small letters to others. A capital at the beginning, or all of them, stay. Source: Zhang, Zhao
    and LeCun, "Character-level convolutional networks for text classification", 2015.

    >>> SynonymReplacement({"quick": ["fast"]}, p=1.0)("Quick and QUICK; slow")
    'Fast and FAST; slow'
    """

    def __init__(self, synonyms: Mapping[str, Sequence[str]], p: float = 0.1) -> None:
        super().__init__(p)
        self.synonyms = {k.lower(): list(v) for k, v in synonyms.items()}

    def word(self, word: str, rng: np.random.Generator) -> str:
        others = self.synonyms.get(word.lower())
        if not others:
            return word
        other = others[int(rng.integers(len(others)))]
        if word.isupper() and len(word) > 1:
            return other.upper()
        return other[:1].upper() + other[1:] if word[0].isupper() else other


class Typos(TextTransform):
    """A slip of the fingers in a word with the chance p: two letters exchanged, one left out, one
    typed twice, or the key beside it hit.

    >>> import tilegrad as tg
    >>> _ = tg.manual_seed(0)
    >>> len(Typos(p=1.0)("keyboard")) in (7, 8, 9)
    True
    """

    def __init__(self, p: float = 0.1) -> None:
        super().__init__(p)

    def word(self, word: str, rng: np.random.Generator) -> str:
        kind, i = int(rng.integers(4)), int(rng.integers(len(word)))
        if kind == 0 and i + 1 < len(word):
            return word[:i] + word[i + 1] + word[i] + word[i + 2 :]
        if kind == 1 and len(word) > 1:
            return word[:i] + word[i + 1 :]
        if kind == 2:
            return word[: i + 1] + word[i:]
        return word[:i] + _beside(word[i], rng) + word[i + 1 :]


def _beside(letter: str, rng: np.random.Generator) -> str:
    """A letter next to this one on the keyboard, in the same case; others stay."""
    for row in _KEYBOARD:
        i = row.find(letter.lower())
        if i >= 0:
            near = row[max(i - 1, 0) : i] + row[i + 1 : i + 2]
            other = near[int(rng.integers(len(near)))]
            return other.upper() if letter.isupper() else other
    return letter
