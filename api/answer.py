"""Owns answers over a collection: which decoder is asked, and the answer whole or as it is made."""

import time
from collections.abc import Generator, Iterator, Mapping

from api.errors import NoBudget, UnknownDecoder
from api.quoted import quote
from api.remote import write_remotely
from api.reports import AnswerReport, Question, Step, pieces_of
from api.served import write_by_server
from api.written import write
from compressor.decoders.names import PAGES, QUOTING, REMOTE, VLLM
from workers.resources import Resources
from workers.settings import Settings
from workers.timing import measured


@measured("answer")
def ask(
    resources: Resources,
    tenant: str,
    question: str,
    *,
    collection: str | None = None,
    k: int = 8,
    whole: bool = False,
    where: Mapping[str, object] | None = None,
    decoder_name: str | None = None,
    budget: int | None = None,
) -> AnswerReport:
    """Answers out of the caches of the k best chunks, or of the whole collection (what `where` leaves of it).

    Raises NotFound, BadFilter, UnknownDecoder, NoBudget, ContextTooLarge, CacheDamaged, and as `api.written.write`.
    """
    asked = Question(question, tenant, collection, k, whole, where, decoder_name, budget)
    *_, report = _steps(resources, asked)
    assert isinstance(report, AnswerReport), "the whole answer comes last"
    return report


def ask_steps(resources: Resources, asked: Question) -> Generator[Step]:
    """What was loaded, then the answer in pieces as it is made, then all of it. Raises as `ask`, also on the way."""
    start = time.perf_counter()
    yield from _steps(resources, asked)
    resources.timings.add("answer", time.perf_counter() - start)


def _steps(resources: Resources, asked: Question) -> Iterator[Step]:
    name = asked.decoder or resources.settings.decoder
    if name not in known_decoders(resources.settings):
        raise UnknownDecoder(name, known_decoders(resources.settings))
    if name.startswith(PAGES):
        yield from write(resources, asked, name)
        return
    if name.startswith(VLLM):
        yield from write_by_server(resources, asked, name)
        return
    if asked.budget is not None:
        raise NoBudget(name)
    if name.startswith(REMOTE):
        yield from write_remotely(resources, asked, name)
        return
    report = quote(resources, asked, name)
    yield report.context
    yield from pieces_of(report.answer)
    yield report


def known_decoders(settings: Settings) -> tuple[str, ...]:
    """Those that a caller may choose: a name from outside never opens a path that the operator did not name."""
    return tuple(dict.fromkeys((QUOTING, settings.decoder, *settings.page_codecs)))
