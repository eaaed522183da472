"""Owns how well a model reads text back from its pages: drawn, encoded, stored as ever, and written out by the model.

White space is left out of the comparison: on a page it is also where lines end, which is not the text's.
"""

from collections.abc import Callable, Iterator, Sequence

from compressor.vlm.codec import FORMAT, PageCodec
from compressor.vlm.encode import PageEncoder, encode_as_fits
from compressor.vlm.load import load_encoder
from compressor.vlm.page import PageCache, store_page
from compressor.vlm.pointing import read_pointing
from compressor.vlm.reader import PageKey, PageReader
from compressor.vlm.recipe import Recipe
from compressor.vlm.tune import Measured
from compressor.vlm.typeset import draw_page, set_pages

PROMPT = "Write out the text of this page, word for word."
PAGES_AT_ONCE = 8  # images in memory, and in one pass of the vision tower where they fit
SPARE = 1.25  # a model may write so many times the tokens of the true text ...
MORE = 32  # ... and so many more, before it is stopped


class ReadBack:
    """A model that writes out pages of some texts. Both of its halves are loaded when it first does."""

    def __init__(
        self,
        codec: PageCodec,
        texts: Sequence[str],
        *,
        count_tokens: Callable[[Sequence[str]], list[int]],
        prompt: str = PROMPT,
        device: str = "auto",
        note: Callable[[int, int], None] = lambda done, pages: None,
    ) -> None:
        """`texts` fill pages each for itself, as chunks do; `note` is told how many of a typography's pages were read.

        Raises ValueError where the texts hold nothing but white space.
        """
        if not any(text.strip() for text in texts):
            raise ValueError("there is no text to read back")
        self._codec = codec
        self._texts = tuple(texts)
        self._text_tokens = sum(count_tokens(list(texts)))
        self._prompt = prompt
        self._device = device
        self._note = note
        self._reader = PageReader(codec, device=device)  # keeps nothing: no page is read twice
        self._encoder: PageEncoder | None = None

    def measure(self, recipe: Recipe) -> Measured:
        """What pages by a recipe cost, and how much of them is read right.

        Raises ContextTooLong and DeviceFull where a page does not fit; ModelError.
        """
        true: list[str] = []
        pages: list[PageCache] = []
        for text in self._texts:
            for written, page in self._pages(text, recipe):
                true.append(written)
                pages.append(page)
        read = []
        for number, (written, page) in enumerate(zip(true, pages, strict=True)):
            self._note(number, len(pages))
            read.append(self._read(page, written))
        return Measured(
            fidelity=round(character_accuracy(true, read), 6),
            tokens=round(1000 * sum(page.positions for page in pages) / self._text_tokens, 3),
        )

    def _pages(self, text: str, recipe: Recipe) -> Iterator[tuple[str, PageCache]]:
        """The pages of a text, each with what stands on it."""
        self._encoder = self._encoder or load_encoder(self._codec.directory, device=self._device)
        encoder, places = self._encoder, set_pages(text, recipe)
        for first in range(0, len(places), PAGES_AT_ONCE):
            part = places[first : first + PAGES_AT_ONCE]
            tokens = encode_as_fits(encoder, [draw_page(text, page, recipe) for page in part])
            for page, one in zip(part, tokens, strict=True):
                stored = store_page(one, codec=self._codec.model, image_token=encoder.image_token, format=FORMAT)
                yield text[page.lines[0].start : page.lines[-1].end], stored

    def _read(self, page: PageCache, true: str) -> str:
        """What the model writes of a page, without its marks for boxes."""
        reader = self._reader
        limit = MORE + round(SPARE * len(reader.tokenizer.encode(true, add_special_tokens=False)))
        around = reader.prompt_tokens(self._prompt, 1, page.image_token)
        plan = reader.plan(around + page.positions + limit, held=page.stored_bytes)
        steps = reader.write([PageKey("", "")], lambda: [page], self._prompt, plan=plan, limit=limit)
        return read_pointing("".join(step for step in steps if isinstance(step, str))).text


def character_accuracy(true: Sequence[str], read: Sequence[str]) -> float:
    """1 less the share of characters that must be changed, put in or taken out of what was read, 0..1; 1 for no text.

    Pages are compared one by one, and what is read of a page costs at most its own characters. White space counts
    nothing (Levenshtein distance, by RapidFuzz).
    """
    from rapidfuzz.distance import Levenshtein

    characters = wrong = 0
    for one, other in zip(map(_without_space, true), map(_without_space, read), strict=True):
        characters += len(one)
        wrong += min(len(one), Levenshtein.distance(one, other))
    return 1 - wrong / characters if characters else 1.0


def _without_space(text: str) -> str:
    return "".join(text.split())
