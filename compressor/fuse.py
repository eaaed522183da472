"""Owns the merging of two rankings of passages, by meaning and by words, into one."""

from collections.abc import Hashable, Sequence
from operator import itemgetter
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)

# Share of the vector score, the rest is the words'. Chosen on all of XQuAD's English questions, none held out
# (python -m bench.search); where the model does not know the language, more than this costs places.
MEANING = 0.65
MEANING_UNREAD = 0.2


def fuse(
    by_vector: Sequence[tuple[Key, float]], by_words: Sequence[tuple[Key, float]], *, pool: int, read: bool = True
) -> list[tuple[Key, float]]:
    """Passages with scores (cosine; BM25, higher is better), each best first -> all of them, best first.

    Scores are added, BM25 as a share of the best hit's. By ranks alone, how clear a winner is would be lost, and with
    it two of a hundred first places. `pool` hits were asked of each ranking. `read` is whether the embedder reads the
    query (`Embedder.reads`).
    """
    meaning = MEANING if read else MEANING_UNREAD
    pairs = line_up(by_vector, by_words, pool=pool)
    fused = {key: meaning * cosine + (1 - meaning) * share for key, (cosine, share) in pairs.items()}
    return sorted(fused.items(), key=itemgetter(1), reverse=True)


def line_up(
    by_vector: Sequence[tuple[Key, float]], by_words: Sequence[tuple[Key, float]], *, pool: int
) -> dict[Key, tuple[float, float]]:
    """Cosine and share of the best BM25 score for every passage that either ranking lists.

    What one ranking does not list counts as its last; but fewer hits by words than were asked for are all that have
    any of them, and the others have none: an id that stands in one passage is what that passage has over all others.
    """
    cosines = dict(by_vector)
    best = max((score for _, score in by_words), default=0.0)
    shares = {key: score / best if best > 0 else 1.0 for key, score in by_words}
    last_cosine = min(cosines.values(), default=0.0)
    last_share = min(shares.values(), default=0.0) if len(shares) >= pool else 0.0
    return {
        key: (cosines.get(key, last_cosine), shares.get(key, last_share)) for key in dict.fromkeys([*cosines, *shares])
    }
