"""Owns the words around pages: a question in the model's own chat template, and an answer's tokens as text."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, cast

import torch
from jinja2 import TemplateError

from compressor.errors import ModelError
from compressor.vlm.families import Family
from compressor.vlm.layout import Part
from compressor.vlm.page import PageCache
from compressor.vlm.rows import Rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_CUT_CHARACTER = "\ufffd"  # what a tokenizer gives for the first bytes of a character


def prompt_parts(
    tokenizer: "PreTrainedTokenizerBase", family: Family, pages: Sequence[PageCache], question: str
) -> list[Part]:
    """Pages, then the question, as one turn of a chat that the model is to answer.

    A tokenizer without a chat template belongs to a model that was trained on pages, a line end, and an instruction.
    Raises ModelError for a template that fails, or does not write one place for each page.
    """
    question = plain_text(tokenizer, question)
    if tokenizer.chat_template is None:
        start = tokenizer.encode("")  # what the model wants at the start of any text
        return [start, *pages, _encode(tokenizer, f"\n{question}")]
    content: list[dict[str, str]] = [{"type": "image"} for _ in pages] + [{"type": "text", "text": question}]
    turn = cast("dict[str, str]", {"role": "user", "content": content})
    try:
        rendered = tokenizer.apply_chat_template([turn], tokenize=False, add_generation_prompt=True)
    except (TemplateError, TypeError, ValueError) as error:
        raise ModelError(
            f"the chat template of this {family.label} model cannot write a question about pages: {error}"
        ) from error
    pieces = _between_pages(cast("str", rendered), family, _image_text(tokenizer, pages), len(pages))
    parts: list[Part] = []
    for number, piece in enumerate(pieces):
        if piece:
            parts.append(_encode(tokenizer, piece))
        parts.extend(pages[number : number + 1])
    return parts


def count_prompt(
    tokenizer: "PreTrainedTokenizerBase", family: Family, question: str, *, pages: int, image_token: int
) -> int:
    """Tokens of a prompt around so many pages, the question's included. Raises as `prompt_parts`."""
    nothing = Rows("f32", torch.empty(0, 0, dtype=torch.uint8), torch.empty(0))
    place = PageCache("", nothing, (), None, torch.empty(0, dtype=torch.int32), image_token)
    parts = prompt_parts(tokenizer, family, [place] * pages, question)
    return sum(len(part) for part in parts if not isinstance(part, PageCache))


def plain_text(tokenizer: "PreTrainedTokenizerBase", text: str) -> str:
    """Text without anything that the tokenizer takes for one of its own marks: a user's text must not open a turn."""
    marks = sorted(tokenizer.get_added_vocab(), key=len, reverse=True)
    for mark in marks:
        if mark.strip():
            text = text.replace(mark, " ")  # the space keeps the halves of another mark apart
    return text


def stream_text(tokenizer: "PreTrainedTokenizerBase", tokens: Iterable[int]) -> Iterator[str]:
    """The text of tokens as they come; a character that takes several tokens comes whole."""
    ids: list[int] = []
    begin, shown = 0, 0  # decoded again with what follows, for the spaces between; of these, already given
    for token in tokens:
        ids.append(token)
        old, new = _decode(tokenizer, ids[begin:shown]), _decode(tokenizer, ids[begin:])
        if len(new) > len(old) and not new.endswith(_CUT_CHARACTER):
            yield new[len(old) :]
            begin, shown = shown, len(ids)
    if shown < len(ids):
        rest = _decode(tokenizer, ids[begin:])[len(_decode(tokenizer, ids[begin:shown])) :]
        if rest:
            yield rest


def _between_pages(rendered: str, family: Family, image_text: str, pages: int) -> list[str]:
    """A rendered chat, cut at its pages: templates write the tags around a page themselves, or leave them out."""
    if not pages:
        return [rendered]
    for place in (family.opening + image_text + family.closing, image_text):
        pieces = rendered.split(place)
        if len(pieces) == pages + 1:
            return pieces
    raise ModelError(
        f"the chat template of this {family.label} model wrote {rendered.count(image_text)} places for {pages} pages"
    )


def _image_text(tokenizer: "PreTrainedTokenizerBase", pages: Sequence[PageCache]) -> str:
    return cast("str", tokenizer.convert_ids_to_tokens(pages[0].image_token)) if pages else ""


def _encode(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    return cast("list[int]", tokenizer.encode(text, add_special_tokens=False))


def _decode(tokenizer: "PreTrainedTokenizerBase", ids: list[int]) -> str:
    return cast("str", tokenizer.decode(ids, skip_special_tokens=False))
