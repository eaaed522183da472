"""Owns how a question names a part of a document: "clause 4.2", of which the text often has the number only."""

import re
from collections.abc import Iterable

from compressor.words import words

_PART = re.compile(
    r"\b(?:clause|section|article|paragraph|para|point|item|step|chapter|rule|schedule|annex|abschnitt|ziffer|artikel|"
    r"punkt|absatz|cláusula|sección|artículo|apartado|alinéa|пункте?|разделе?|стать[яие]|главе?)\.? +(?=\d)",
    re.IGNORECASE,
)


def without_parts(question: str, texts: Iterable[str]) -> str:
    """The question with "4.2" for "clause 4.2" where none of the texts says "clause".

    The rarest word of a question counts most, and one that is nowhere would be that.
    """
    if not _PART.search(question):
        return question
    said = {word for text in texts for word in words(text)}
    return _PART.sub(lambda part: part.group() if said.intersection(words(part.group())) else "", question)
