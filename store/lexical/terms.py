"""Owns what a word is: how passages and queries are cut into terms, in any script. Knows no database."""

import re
import unicodedata
from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

_MAX_TERMS = 64  # of a query; a pasted page must not become a query of thousands of terms
_MAX_CHARACTERS = 200  # of a word in PostgreSQL, which refuses words of more than 2,046 bytes

# Scripts written without spaces between words: unicode61 would make one token of a whole clause.
_UNSPACED = re.compile(
    "["
    "\u0e00-\u0e7f"  # Thai
    "\u0e80-\u0eff"  # Lao
    "\u1000-\u109f"  # Burmese
    "\u1780-\u17ff"  # Khmer
    "\u3005\u3007\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # Kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
    "\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff"  # Hangul
    "]+"
)
_ARABIC_MARKS = re.compile("[\u0640\u064b-\u065f\u0670]")  # tatweel and vowel marks: written or not at will
_ACCENTS = re.compile("[\u0300-\u036f]+")
_DIGITS = re.compile(r"(?![0-9])\d")
# Letters that are typed without the mark that tells them from others, and what only shows where a line breaks.
_LETTERS: dict[int, int | str | None] = {
    **str.maketrans("łŁøØđĐðÐħĦıأإآٱیىکة", "lLoOdDdDhHiااااييكه"),
    **dict(zip(map(ord, "ßẞæÆœŒþÞ"), ("ss", "SS", "ae", "AE", "oe", "OE", "th", "TH"), strict=True)),
    0xAD: None,
}
_WORD_CATEGORIES = {"Lu", "Ll", "Lt", "Lm", "Lo", "Nd", "Nl", "No", "Co", "Mn", "Mc"}  # as the tokenizer's
# Words that are in every passage rank nothing and cost a walk through the whole index.
_COMMON = (
    "a about an and are as at be been but by can could did do does for from had has have how i if in into is it its "
    "me my not of on or our so such than that the their them then there these they this those to was we were what "
    "when where which who why will with would you your"
)
_STOP_WORDS = frozenset(_COMMON.split())


class LexicalHit(NamedTuple):
    """A passage that shares words with the query."""

    vector_id: int
    score: float  # higher is better


class Term(NamedTuple):
    """A word of a query. Only word characters are in it, so no quote or operator can be."""

    text: str
    prefix: bool  # a lone character of an unspaced script stands for the pairs it begins


def spaced(body: str) -> str:
    """Normalised text with every unspaced run as overlapping pairs and its last character: 向量检 -> 向量 量检 检."""
    return _UNSPACED.sub(lambda run: f" {' '.join([*_pairs(run[0]), run[0][-1]])} ", _normal(body))


def query_terms(query: str) -> list[Term]:
    """The query's distinct terms in order: words, pairs of unspaced characters, or a lone one.

    Then the same as passages have them that were stored before letters and digits were made plain.
    """
    split = _normal(query)
    if split != (earlier := _compatible(query)):
        split += f" {earlier}"
    split = _words_only(split)
    if not split.isascii():
        split = _UNSPACED.sub(lambda run: f" {' '.join(_pairs(run[0])) or run[0] + '*'} ", split)
    every = dict.fromkeys(split.lower().split())
    terms = [term for term in every if term not in _STOP_WORDS] or every
    return [Term(term.removesuffix("*"), prefix=term.endswith("*")) for term in terms][:_MAX_TERMS]


def begins_unspaced(word: str) -> bool:
    """Whether a word's first character is of a script without spaces, so that it may be asked for alone."""
    return _UNSPACED.match(word) is not None


def words(body: str) -> list[str]:
    """A passage's words as `fold` makes them, in order: what SQLite's tokenizer does by itself."""
    return [fold(word) for word in _words_only(spaced(body)).lower().split()]


def choices(counts: Mapping[str, int], cap: int) -> list[list[str]]:
    """Which terms choose the passages that are ranked (by all terms): the rare ones, as many as the cap allows.

    counts: passages that have each term. Where the first choice finds too little, the second one, if any, is all terms.
    """
    found = sorted((term for term, count in counts.items() if count), key=lambda term: counts[term])
    rare: list[str] = []
    for term in found:
        if rare and sum(counts[chosen] for chosen in rare) + counts[term] > cap:
            break
        rare.append(term)
    return [rare, found] if len(rare) < len(found) else [rare] if rare else []


def fold(word: str) -> str:
    """The word without accents, and not longer than a database takes."""
    if word.isascii():
        return word[:_MAX_CHARACTERS]
    bare = _ACCENTS.sub("", unicodedata.normalize("NFD", word))
    return unicodedata.normalize("NFC", bare or word)[:_MAX_CHARACTERS]


def _normal(body: str) -> str:
    """Letters and digits as they are asked for on any keyboard."""
    plain = _compatible(body).translate(_LETTERS)
    return plain if plain.isascii() else _DIGITS.sub(lambda digit: str(unicodedata.decimal(digit[0])), plain)


def _compatible(body: str) -> str:
    if body.isascii():
        return body
    return _ARABIC_MARKS.sub("", unicodedata.normalize("NFKC", body))


class _WordCharacters(dict[int, int]):
    """What each character becomes where only words are kept; filled as texts have them. Safe for threads."""

    def __missing__(self, code: int) -> int:
        self[code] = kept = code if unicodedata.category(chr(code)) in _WORD_CATEGORIES else ord(" ")
        return kept


_KEPT = _WordCharacters()


def _words_only(body: str) -> str:
    return body.translate(_KEPT)


def _pairs(run: str) -> list[str]:
    return [first + second for first, second in pairwise(run)]
