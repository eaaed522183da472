"""Owns answers of a vLLM server: page caches through its doors, its words and where they come from."""

import hashlib
import time
from collections.abc import Iterator, Sequence

from api.pagechoice import Chosen, ModelContext, PagesAsked, choose_pages, pages_asked
from api.pagecitations import cite_pages
from api.pageplaces import PagePlace, in_order, load_pages
from api.reports import ContextReport, Mode, Question, Step, written_answer
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
from compressor.said import Said, noted
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
        yield written_answer("", (), decoder=decoder, mode=MODE, context=nothing, timings=timings.with_total())
        return
    with timings.step("plan"):
        served = find_served(remote, codec.name.removeprefix(PAGES))
        sender = _Sender(resources, codec, remote, served)
        chosen = sender.choose(about)
    context = chosen.report()
    yield context
    shown = in_order(chosen.ranked)
    said: list[str] = []
    before = time.perf_counter()
    cut_off = yield from noted(sender.ask(asked, shown), said)
    timings.add("answer", time.perf_counter() - before)
    pointing = read_pointing("".join(said))
    text = pointing.text.strip()
    citations = cite_pages(resources, pointing, shown, chosen.ranked, codec.recipe) if text else ()
    yield written_answer(
        text,
        citations,
        decoder=decoder,
        mode=MODE,
        context=context,
        timings=timings.with_total(),
        cut_off=cut_off,
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

    def choose(self, about: PagesAsked) -> Chosen:
        """The pages to send, in the size that each is sent in. Raises ContextTooLarge, ContextTooLong, CacheDamaged."""
        family, asked = self._codec.family, about.question
        most = self._served.max_tokens or self._resources.settings.max_context_tokens
        sent = most if self._named else SENT_BYTES // self._expected.row_bytes
        context = ModelContext(
            count=lambda pages, image_token: count_prompt(
                self._tokenizer, family, asked.text, pages=pages, image_token=image_token
            ),
            room=lambda held: min(most, sent),  # the memory is the server's
            where=f"in the context of {self._served.id} and in one request",
        )
        chosen = choose_pages(self._resources, about, context)
        if chosen.tokens > chosen.room:
            raise ContextTooLong(
                f"all of it is {chosen.tokens:,} tokens with question and answer; the context of {self._served.id} "
                f"holds {most:,}"
                + ("" if self._named else f", and one request {sent:,} (PERCEL_VLLM_SENDS=names: no limit)")
            )
        return chosen

    def ask(self, asked: Question, shown: Sequence[PagePlace]) -> Said:
        """The answer in pieces -> whether it is cut off. Raises RemoteError, CacheDamaged, UnknownCodec, ModelError."""
        # Tenants must not learn from the server's speed what others asked about.
        salt = hashlib.sha256(f"percel {asked.tenant}".encode()).hexdigest()
        limit = self._resources.settings.answer_tokens
        if not self._codec.family.grid:
            pages = load_pages(self._resources, shown)
            prompt = prompt_embeds(self._codec, self._tokenizer, pages, asked.text, expected=self._expected)
            return (yield from ask_by_prompt(self._remote, self._served, prompt, salt=salt, limit=limit))
        names = [page_name(self._codec.model, place.key.blob, place.key.entry) for place in shown]
        if self._named:
            parts = [named_part(p.grid, self._expected, name) for p, name in zip(shown, names, strict=True)]
        else:
            pages = load_pages(self._resources, shown)
            parts = [image_part(page, self._expected, name) for page, name in zip(pages, names, strict=True)]
        return (
            yield from ask_by_images(
                self._remote, self._served, parts, asked.text, tokenizer=self._tokenizer, salt=salt, limit=limit
            )
        )
