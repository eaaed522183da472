"""Owns the context of a question for a decoder of the user's own: the chosen chunks' native tokens as one file.

Chunks stand in it as they are stored, or merged to the rate that their budget left them. Nothing is encoded anew, and
the file grows piece by piece: what is held at once does not grow with it.
"""

import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from api.contextchoice import ContextPlan, PlannedChunk, plan_context
from api.library import load_caches
from api.reports import Question
from compressor.context import Wanted, load_context, numbers_of
from compressor.contextfile import write_context
from store.errors import BlobMissing
from store.space import on_disk
from store.types import ChunkCache
from workers.resources import Resources
from workers.timing import Timings

VERSION = "1"  # of what the metadata says
LOADED_TOKENS = 1 << 15  # most that are held at once: 32 MB of numbers
LOADED_FILES = 64  # most that are open at once

Progress = Callable[[str, int, int], None]  # of a step, since the last word: what is done, what became due


@dataclass(frozen=True, slots=True)
class ContextChunk:
    """A chunk in a context file."""

    document_id: str
    title: str
    chunk: int  # ordinal, from 0
    codec: str  # fingerprint of the rate that its tokens stand at
    rate: int
    stored_rate: int
    first: int  # of its tokens, as a row of `tokens`
    vision_tokens: int  # rows from there on
    text_tokens: int  # that these stand for


@dataclass(frozen=True, slots=True)
class SavedContext:
    """What a context file holds; the fields of `percel context --json`, the file's name apart."""

    question: str
    collection: str
    k: int | None  # chunks that were asked for; None: the whole collection
    budget: int | None
    chunks: tuple[ContextChunk, ...]  # best first; of a whole collection in the order of arrival
    vision_tokens: int
    width: int  # numbers in a token
    text_tokens: int
    compression: float  # text tokens per vision token
    rates: dict[str, int]  # "native-40" -> chunks that stand at that rate
    bytes: int  # of the file
    timings: dict[str, float]  # seconds by step


def _silent(step: str, done: int, due: int) -> None:
    pass


def save_context(resources: Resources, asked: Question, path: Path, *, tell: Progress = _silent) -> SavedContext:
    """Writes the context of a question to a file; it has its name when it is complete, and its owner alone reads it.

    What is there and is no file, a pipe or a device, is written to and stays what it is. Raises as `write`, and
    StoreFull, OSError.
    """
    if path.exists() and not path.is_file():
        return _pour_context(resources, asked, path, tell)
    with on_disk(path.parent):
        descriptor, partial = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".partial", dir=path.parent)
        try:
            with open(descriptor, "wb") as file:
                saved = write(resources, asked, file, tell=tell)
            os.replace(partial, path)
        finally:
            Path(partial).unlink(missing_ok=True)
    return saved


def _pour_context(resources: Resources, asked: Question, path: Path, tell: Progress) -> SavedContext:
    with open(path, "wb") as target, tempfile.TemporaryFile(dir=_scratch(resources)) as file:
        saved = write(resources, asked, file, tell=tell)
        file.seek(0)
        shutil.copyfileobj(file, target)
    return saved


def _scratch(resources: Resources) -> Path:
    """Not the system's directory for such files, which is often memory: a context may be a gigabyte."""
    folder = resources.settings.home / "contexts"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def open_context(resources: Resources, asked: Question) -> IO[bytes]:
    """The context of a question as a file without a name, at its beginning; the caller closes it.

    Raises as `write`, and StoreFull.
    """
    with on_disk(resources.settings.home):
        file = tempfile.TemporaryFile(dir=_scratch(resources))  # noqa: SIM115 - it stays open
        try:
            write(resources, asked, file)
        except BaseException:
            file.close()
            raise
    file.seek(0)
    return file


def write(resources: Resources, asked: Question, file: IO[bytes], *, tell: Progress = _silent) -> SavedContext:
    """Writes the context of a question into an empty file.

    Raises as `plan_context`, and ContextTooLong, CacheDamaged, CacheError.
    """
    try:
        return _write(resources, asked, file, tell)
    except BlobMissing:  # between the look at the rows and the load, a file was put together anew or deleted
        file.seek(0)
        file.truncate()
        return _write(resources, asked, file, tell)


def _write(resources: Resources, asked: Question, file: IO[bytes], tell: Progress) -> SavedContext:
    timings = Timings()
    tell("search", 0, 1)
    with timings.step("search"):
        plan = plan_context(resources, asked)
    tell("search", 1, 0)
    chunks = _places(plan.chunks)
    tokens = sum(chunk.vision_tokens for chunk in chunks)
    text_tokens = sum(chunk.text_tokens for chunk in chunks)
    tell("load", 0, len(chunks))
    with timings.step("load"):
        width = write_context(file, _pieces(resources, plan.chunks, tell), tokens, _metadata(plan, chunks))
        file.flush()
    return SavedContext(
        question=asked.text,
        collection=plan.collection,
        k=None if asked.whole else asked.k,
        budget=asked.budget,
        chunks=chunks,
        vision_tokens=tokens,
        width=width,
        text_tokens=text_tokens,
        compression=round(text_tokens / max(1, tokens), 2),
        rates=dict(Counter(chunk.codec.partition("@")[0] for chunk in chunks)),
        bytes=file.tell(),
        timings=timings.with_total(),
    )


def _places(planned: Sequence[PlannedChunk]) -> tuple[ContextChunk, ...]:
    """Where each chunk stands, one after the other."""
    starts = np.cumsum([0, *(chunk.vision_tokens for chunk in planned)]).tolist()
    return tuple(
        ContextChunk(
            document_id=chunk.row.document_id,
            title=chunk.title,
            chunk=chunk.row.ordinal,
            codec=chunk.codec,
            rate=chunk.rate,
            stored_rate=chunk.stored_rate,
            first=first,
            vision_tokens=chunk.vision_tokens,
            text_tokens=chunk.row.text_tokens,
        )
        for chunk, first in zip(planned, starts, strict=False)
    )


def _metadata(plan: ContextPlan, chunks: Sequence[ContextChunk]) -> dict[str, str]:
    """What the file says of itself: its version, and as JSON what was asked and where each chunk stands."""
    asked = {
        "question": plan.question.text,
        "collection": plan.collection,
        "k": None if plan.question.whole else plan.question.k,
        "budget": plan.question.budget,
        "filter": plan.question.where,
    }
    return {
        "percel_context": VERSION,
        "asked": json.dumps(asked, ensure_ascii=False),
        "chunks": json.dumps([asdict(chunk) for chunk in chunks], ensure_ascii=False),
    }


def _pieces(resources: Resources, planned: Sequence[PlannedChunk], tell: Progress) -> Iterator[NDArray[np.float16]]:
    """The tokens of chunks in their order, (tokens, width) each; as many at once as may be held."""
    for batch in _batches(planned):
        yield from _load(resources, batch)
        tell("load", len(batch), 0)


def _batches(planned: Sequence[PlannedChunk]) -> Iterator[list[PlannedChunk]]:
    batch: list[PlannedChunk] = []
    tokens = files = 0
    for chunk in planned:
        another = not batch or batch[-1].row.blob != chunk.row.blob
        if batch and (tokens + chunk.row.vision_tokens > LOADED_TOKENS or files + another > LOADED_FILES):
            yield batch
            batch, tokens, files, another = [], 0, 0, True
        batch.append(chunk)
        tokens += chunk.row.vision_tokens
        files += another
    if batch:
        yield batch


def _load(resources: Resources, batch: Sequence[PlannedChunk]) -> Sequence[NDArray[np.float16]]:
    """The tokens of chunks in their order. Raises BlobMissing, CacheDamaged, CacheError."""
    kept = [chunk.row for chunk in batch if not chunk.merged]
    straight = load_context([_wanted(resources, list(rows)) for _, rows in groupby(kept, key=lambda row: row.blob)])
    if len(kept) == len(batch):
        return [straight]
    as_stored = iter(np.split(straight, np.cumsum([row.vision_tokens for row in kept], dtype=int)))
    merged = _merge(resources, [chunk for chunk in batch if chunk.merged])
    return [next(merged) if chunk.merged else next(as_stored) for chunk in batch]


def _wanted(resources: Resources, rows: Sequence[ChunkCache]) -> Wanted:
    expected = {row.entry: row.expected for row in rows}
    return Wanted(resources.blobs.ranges(rows[0].blob), tuple(row.entry for row in rows), expected)


def _merge(resources: Resources, chunks: Sequence[PlannedChunk]) -> Iterator[NDArray[np.float16]]:
    """The tokens of chunks at their higher rates, in order. Raises BlobMissing, CacheDamaged."""
    caches = load_caches(resources, [chunk.row for chunk in chunks])
    merged: dict[int, NDArray[np.uint8]] = {}
    for codec in dict.fromkeys(chunk.codec for chunk in chunks):
        places = [place for place, chunk in enumerate(chunks) if chunk.codec == codec]
        levels = resources.codec(codec).merge([caches[place] for place in places])
        merged |= dict(zip(places, levels, strict=True))
    return (numbers_of(merged[place], cache.format) for place, cache in enumerate(caches))
