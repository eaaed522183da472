"""Owns the words of a text as ranking compares them: any script, case and endings folded, ids and numbers whole."""

import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence, Set
from functools import lru_cache
from itertools import chain

_STEM = 6  # a word is its first letters: no worse than a stemmer on English questions, and at home in Russian too
_MARKS = re.compile("[\u0300-\u036f\u0640\u064b-\u065f\u0670]")  # accents; Arabic vowel marks
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7af"
_UNSPACED_FIRST = re.compile(f"[{_UNSPACED}]")
END = "\0"  # stands behind the words of each of several texts; it is no part of any word, and no white space
_BETWEEN = f" {END} "
_TOKEN = re.compile(rf"{END}|[{_UNSPACED}]+|[^\W{_UNSPACED}]+(?:[-.,:/_@+'’][^\W{_UNSPACED}]+)*")
_ASCII_TOKEN = re.compile(rf"{END}|\w+(?:[-.,:/@+']\w+)*", re.ASCII)  # the same there, in half the time
_ENDING = re.compile(r"(?<=[a-z]{2})(?:(?<!s)s|e|es|ed|ies|ied|y|(?<=[a-z]{3})(?:ing|ly))$")
_LONGEST, _MOST = 64, 65_536  # characters, and strings, whose words are kept
_MOST_WORDS = 1 << 19  # of those: a sentence of a script without spaces is one string with dozens
_INNER = re.compile(r"[-.,:/_@+'’]")
_APART = re.compile(r"(?<!\d),|,(?!\d)")  # a comma that is in no number: "4711,code"
_THOUSANDS = re.compile(r"\D*\d{1,3}(?:,\d{3})+(?!\d)")
_LOOSE = re.compile(r"[,:/@+'’]|(?<!\d)\.|\.(?!\d)")  # between an id and what is no part of it: "KX-77/12", "KX-77's"
_DIGIT = re.compile(r"\d")
_ARABIC_ARTICLE = re.compile("^(?:وال|بال|فال|لل|ال)(?=..)")
_ARABIC_ENDING = re.compile("(?<=[\u0621-\u064a]{3})(?:ها|ان|ات|ون|ين|يه|ية|ه|ة|ي|ا)$")  # as the Light10 stemmer
_EMPTY_WORDS = (
    "a about after all also am an and any are as at be been before being between both but by can could describe "
    "did do does during each else ever explain find for from get give given gave had has have having he her him "
    "his how i if in into is it its kind list many me might more most much must my name named of on one or "
    "other our out over per please s she should show so some such t tell than that the their them then there "
    "these they this those through to type under up upon was we were what when where which while who whom "
    "whose why will with within would you your что как где когда кто какой какая какое какие каком сколько чей в "
    "во на и из с со по к ко о об от до для за при не это был была были было быть у а но или же ما ماذا من متى "
    "اين أين كم كيف لماذا هل في على إلى الى عن مع هو هي التي الذي كان كانت هذا هذه أو و أي اي der das und ist "
    "wer wann wo wie viele viel ein eine von zu mit den dem des im le la les un une du de et est qui que "
    "quand où combien comment dans par pour sur en au aux el los las una y es era quién qué cuándo dónde cuánto "
    "عدد cuántos cómo por para con del al "
)
_EMPTY_UNSPACED = re.compile(
    "什么|甚么|哪些|哪个|哪里|哪一|哪|多少|几|谁|何时|何|为什么|怎么|如何|的|了|是|在|有|吗|呢"
)


def words(text: str) -> list[str]:
    """The text's words in order, question words and articles left out; unspaced scripts as pairs of characters."""
    return [*_words_of(text.replace(END, " "))]


def words_apart(texts: Sequence[str]) -> list[str]:
    """The words of several texts in one list, `END` behind those of each. Quicker than one by one where they are short.

    No word stands in two texts.
    """
    joined = _BETWEEN.join(texts)
    if joined.count(END) >= len(texts):
        joined = _BETWEEN.join([text.replace(END, " ") for text in texts])
    return [*_words_of(joined), *([END] if texts else ())]


def _words_of(text: str) -> Iterable[str]:
    return chain.from_iterable(map(_RUNS.__getitem__, text.split()))  # no word has white space in it


def _cut(text: str) -> Iterable[str]:
    if text.isascii() and text.isalpha():
        return _TOKENS[text.lower()]
    folded = fold(text)
    tokens = (_ASCII_TOKEN if folded.isascii() else _TOKEN).findall(folded)
    return chain.from_iterable(map(_TOKENS.__getitem__, tokens))


def fold(text: str) -> str:
    """The text without case, accents and vowel marks, and in plain digits and hyphens."""
    if text.isascii():
        return text.lower()
    bare = unicodedata.normalize("NFC", _MARKS.sub("", unicodedata.normalize("NFKD", text)))
    return bare.casefold().translate(_PLAIN)


def has_digit(word: str) -> bool:
    """Whether a word is, or holds, a number: such words must match exactly."""
    return _DIGIT.search(word) is not None


def word_weights(asked: Sequence[str], found: Sequence[Set[str]]) -> dict[str, float]:
    """A question's words -> their shares of 1: the rarer among the texts found the larger, ids and numbers most."""
    counts = {word: sum([word in its for its in found]) for word in asked}
    raw = {
        word: math.log(1 + (len(found) + 1) / (count + 0.5)) * (1.5 if has_digit(word) else 1)
        for word, count in counts.items()
    }
    total = sum(raw.values())
    return {word: weight / total for word, weight in raw.items()}


def _parts(token: str) -> Iterable[str]:
    if not token.isascii() and _UNSPACED_FIRST.match(token):
        runs = [run for run in _EMPTY_UNSPACED.split(token) if run]
        return tuple(pair for run in runs for pair in ([run[i : i + 2] for i in range(len(run) - 1)] or [run]))
    pieces = _INNER.split(token)
    if len(pieces) == 1:
        return (_stem(token),) if token not in _empty() else ()
    if not has_digit(token):
        return tuple(_stem(piece) for piece in pieces if piece not in _empty())
    apart = _APART.split(token)
    if len(apart) > 1:
        return tuple(chain.from_iterable(map(_parts, filter(None, apart))))
    whole = token.replace(",", "")  # 1,000 is 1000
    if _THOUSANDS.match(token):
        return (whole,)
    inner = [piece for piece in [*_LOOSE.split(token), *pieces] if len(piece) > 2 and piece not in _empty()]
    return tuple(dict.fromkeys([whole, *map(_stem, inner)]))


@lru_cache(maxsize=1)
def _empty() -> frozenset[str]:
    return frozenset(fold(_EMPTY_WORDS).split())


def _stem(word: str) -> str:
    if has_digit(word):
        return word
    if not word.isascii():
        word = _ARABIC_ENDING.sub("", _ARABIC_ARTICLE.sub("", word))
    return _ENDING.sub("", word)[:_STEM]


class _Known(dict[str, tuple[str, ...]]):
    """The words of what was seen before, most of any text. `functools.lru_cache` takes twice as long for each.

    They stay in memory, so only those of short strings are kept, and all are forgotten when strings or words are too
    many. Safe for threads.
    """

    def __init__(self, words_of: Callable[[str], Iterable[str]]) -> None:
        super().__init__()
        self._words_of = words_of
        self._held = 0  # words, about: threads may count over each other

    def __missing__(self, key: str) -> tuple[str, ...]:
        found = tuple(self._words_of(key))
        if len(key) <= _LONGEST:
            if len(self) >= _MOST or self._held >= _MOST_WORDS:
                self.clear()
                self._held = 0
            self[key] = found
            self._held += len(found)
        return found


_RUNS, _TOKENS = _Known(_cut), _Known(_parts)


class _Plain(dict[int, int | str | None]):
    """What characters become that have no accent to lose; filled as texts have them. Safe for threads."""

    def __missing__(self, code: int) -> int | str | None:
        self[code] = plain = str(unicodedata.decimal(chr(code), chr(code)))
        return plain


# Letters typed without their stroke, and as Arabic has them; hyphens, and those that only show where a line breaks.
_PLAIN = _Plain(str.maketrans("łøđðħıٱیکى\u2010\u2011\u2212", "loddhiايكي---"))
_PLAIN |= {ord("æ"): "ae", ord("œ"): "oe", ord("þ"): "th", 0xAD: None}
