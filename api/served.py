"""Owns answers of a vLLM server: page caches through its doors, its words and where they come from."""

import hashlib
import time
from collections.abc import Iterator, Sequence

from api.pagechoice import NOTHING_FOUND, PagesAsked, PromptPrice, check_whole, pages_asked, price_prompt
from api.pagecitations import cite_pages
from api.pageplaces import PagePlace, in_order, load_pages
from api.reports import AnswerReport, ContextReport, Mode, Question, Step
from api.search import home_of
from compressor.decoders.names import PAGES, VLLM, read_model
from compressor.decoders.openai import RemoteModel, remote_model
from compressor.decoders.vllm import (
    SENT_BYTES,
    Expected,
    Served,
    ask_by_images,
    ask_by_prompt,
    expect_pages,
    find_served,
    image_part,
    named_part,
    page_name,
    prompt_embeds,
)
from compressor.errors import ContextTooLong, ModelError
from compressor.vlm.codec import PageCodec
from compressor.vlm.load import load_tokenizer
from compressor.vlm.pointing import read_pointing
from compressor.vlm.prompt import count_prompt
from workers.resources import Resources
from workers.timing import Timings

MODE: Mode = "full"  # a server lets every page see those before it


def write_by_server(resources: Resources, asked: Question, decoder: str) -> Iterator[Step]:
    """What was sent, the answer in pieces (with the model's marks), then all of it (without).

    Raises NotFound, BadFilter, NoPageCaches, ContextTooLarge, ContextTooLong, RemoteError, ModelError, CacheDamaged.
    """
    timings = Timings()
    start = time.perf_counter()
    settings = resources.settings
    codec = resources.page_codec(read_model(decoder))
    remote = remote_model(
        decoder, kind=VLLM, key=settings.openai_key.get_secret_value(), seconds=settings.openai_seconds
    )
    home = home_of(resources, asked.tenant, asked.collection)
    with timings.step("search"):
        about = pages_asked(resources, home, asked, codec)
    if not about.rows:
        nothing = ContextReport(0, 0, 0)
        yield nothing
        yield AnswerReport(NOTHING_FOUND, True, (), decoder, MODE, None, nothing, _seconds(timings, start))
        return
    with timings.step("plan"):
        served = find_served(remote, codec.name.removeprefix(PAGES))
        sender = _Sender(resources, codec, remote, served)
        ranked = sender.choose(asked, about)
    context = ContextReport(
        chunks=len(about.rows),
        vision_tokens=sum(place.positions for place in ranked),
        text_tokens=sum(row.text_tokens for row in about.rows),
        pages=len(ranked),
        left_out=len(about.pages) - len(ranked),
    )
    yield context
    shown = in_order(ranked)
    said: list[str] = []
    before = time.perf_counter()
    for piece in sender.ask(asked, shown):
        said.append(piece)
        yield piece
    timings.add("answer", time.perf_counter() - before)
    pointing = read_pointing("".join(said))
    text = pointing.text.strip()
    yield AnswerReport(
        answer=text or NOTHING_FOUND,
        abstained=not text,
        citations=cite_pages(resources, pointing, shown, ranked, codec.recipe) if text else (),
        decoder=decoder,
        mode=MODE,
        confidence=None,
        context=context,
        timings=_seconds(timings, start),
    )


class _Sender:
    """One question's way to a server."""

    def __init__(self, resources: Resources, codec: PageCodec, remote: RemoteModel, served: Served) -> None:
        self._resources = resources
        self._codec = codec
        self._remote = remote
        self._served = served
        self._expected: Expected = expect_pages(codec)
        self._tokenizer = load_tokenizer(codec.directory)
        self._named = resources.settings.vllm_sends == "names"
        if self._named and not codec.family.grid:
            raise ModelError(
                f"{codec.family.label} goes into vLLM as prompt embeds, which have no names: "
                "set PERCEL_VLLM_SENDS=embeds"
            )

    def choose(self, asked: Question, about: PagesAsked) -> tuple[PagePlace, ...]:
        """The pages to send, the likeliest first. Raises ContextTooLarge, ContextTooLong."""
        family, token = self._codec.family, about.pages[0].image_token
        prompt: PromptPrice = price_prompt(
            self._resources,
            lambda count: count_prompt(self._tokenizer, family, asked.text, pages=count, image_token=token),
        )
        settings = self._resources.settings
        most = self._served.max_tokens or settings.max_context_tokens
        sent = most if self._named else SENT_BYTES // self._expected.row_bytes
        if not asked.whole:
            room = min(most, settings.max_context_tokens, sent)
            return prompt.fit(about.pages, room, where=f"in the context of {self._served.id} and in one request")
        check_whole(self._resources, about.pages)
        tokens = prompt.tokens(about.pages)
        if tokens > min(most, sent):
            raise ContextTooLong(
                f"all of it is {tokens:,} tokens with question and answer; the context of {self._served.id} holds "
                f"{most:,}" + ("" if self._named else f", and one request {sent:,} (PERCEL_VLLM_SENDS=names: no limit)")
            )
        return about.pages

    def ask(self, asked: Question, shown: Sequence[PagePlace]) -> Iterator[str]:
        """The answer in pieces. Raises RemoteError, CacheDamaged, UnknownCodec, ModelError."""
        # Tenants must not learn from the server's speed what others asked about.
        salt = hashlib.sha256(f"percel {asked.tenant}".encode()).hexdigest()
        limit = self._resources.settings.answer_tokens
        if not self._codec.family.grid:
            pages = load_pages(self._resources, shown)
            prompt = prompt_embeds(self._codec, self._tokenizer, pages, asked.text, expected=self._expected)
            yield from ask_by_prompt(self._remote, self._served, prompt, salt=salt, limit=limit)
            return
        names = [page_name(self._codec.model, place.key.blob, place.key.entry) for place in shown]
        if self._named:
            parts = [named_part(p.grid, self._expected, name) for p, name in zip(shown, names, strict=True)]
        else:
            pages = load_pages(self._resources, shown)
            parts = [image_part(page, self._expected, name) for page, name in zip(pages, names, strict=True)]
        yield from ask_by_images(
            self._remote, self._served, parts, asked.text, tokenizer=self._tokenizer, salt=salt, limit=limit
        )


def _seconds(timings: Timings, start: float) -> dict[str, float]:
    return {**timings.seconds, "total": round(time.perf_counter() - start, 3)}
