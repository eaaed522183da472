"""Every ready document gets page caches for every model that the settings name; a model's fault costs no document."""

from collections.abc import Iterator
from pathlib import Path

import pymupdf
import pytest

from api.library import documents_of, read_document, remove_document, report
from api.upkeep import Finding, examine
from compressor.vlm.pagefile import PageFile
from store import catalog
from store.database import reading, transaction
from store.models import Document, DocumentState, JobKind
from store.sweep import check_blobs
from store.types import ChunkCache
from tests.compressor.vlm.saved import save_model
from workers.ingest import Offer, accept
from workers.pages import owned_pages
from workers.resources import Resources
from workers.runner import run_due_jobs
from workers.settings import Settings

STORY = "The gauge at Marlow Weir was read at 06:00. It stood at 2.417 m, serial GX-20418. "


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model("qwen3_vl", tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def keeping(home: Path, model: Path) -> Iterator[Resources]:
    """Resources of a home that keeps page caches of the tiny model."""
    with Resources(Settings(home=home, page_codecs=(f"hf:{model}",))) as opened:
        yield opened


def paper(folder: Path, texts: list[str]) -> Path:
    """A PDF with one page for each text; an empty one stays blank."""
    path = folder / "paper.pdf"
    with pymupdf.open() as document:
        for text in texts:
            page = document.new_page(width=300, height=400)
            if text:
                page.insert_textbox((30, 30, 270, 370), text, fontsize=9)
        document.save(path)
    return path


def ingest(resources: Resources, path: Path) -> Document:
    accept(resources, "default", "test", Offer(path, path.name, external_id=path.name))
    run_due_jobs(resources)
    return next(d for d in documents_of(resources, "default", "test") if d.title == path.name)


def page_rows(resources: Resources, document: Document) -> list[ChunkCache]:
    codec = resources.page_codec(resources.settings.page_codecs[0])
    with reading(resources.engine) as session:
        return catalog.page_caches(session, [document.id], codec.fingerprint)


def sized_rows(resources: Resources, document: Document) -> list[list[ChunkCache]]:
    """The rows of each size, the full one first."""
    sizes = resources.page_sizes(resources.settings.page_codecs[0])
    with reading(resources.engine) as session:
        return [catalog.page_caches(session, [document.id], size.fingerprint) for size in sizes]


def entries(resources: Resources, rows: list[ChunkCache]) -> list[str]:
    found = []
    for blob in dict.fromkeys(row.blob for row in rows):
        with PageFile(resources.blobs.ranges(blob)) as file:
            file.verify()
            found += list(file)
    return found


def test_the_pages_of_a_pdf_are_kept_once_each(keeping: Resources, tmp_path: Path) -> None:
    document = ingest(keeping, paper(tmp_path, [STORY * 8, STORY.upper() * 8, "", STORY * 8]))
    assert document.state is DocumentState.READY
    rows = page_rows(keeping, document)
    assert [row.ordinal for row in rows] == list(range(document.chunk_count or 0))
    assert len(entries(keeping, rows)) == 4
    assert sum(row.vision_tokens for row in rows) > 4


def test_other_documents_are_set_as_pages_by_the_recipe(keeping: Resources, tmp_path: Path) -> None:
    (tmp_path / "long.md").write_text("# Weirs\n\n" + "\n\n".join(f"{n}. {STORY * 5}" for n in range(40)))
    document = ingest(keeping, tmp_path / "long.md")
    rows = page_rows(keeping, document)
    assert len(rows) == document.chunk_count
    assert len(entries(keeping, rows)) >= len(rows)
    with reading(keeping.engine) as session:
        assert all(not row.codec.startswith("hf:") for row in catalog.document_caches(session, document.id))
    assert STORY.strip() in "\n".join(read_document(keeping, document))


def test_page_caches_count_as_bytes_and_not_as_text(keeping: Resources, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(STORY * 12)
    document = ingest(keeping, tmp_path / "a.txt")
    with reading(keeping.engine) as session:
        figures = {item.exact: item for item in catalog.document_figures(session, [document.id])[document.id]}
        counted = catalog.count_collection(session, document.collection_id)
    (shown,) = report(keeping, [document])
    assert (shown.vision_tokens, counted.vision_tokens) == (figures[True].vision_tokens,) * 2
    assert shown.cache_bytes == counted.cache_bytes == figures[True].cache_bytes + figures[False].cache_bytes
    assert counted.text_tokens == document.text_tokens
    assert [codec.split("@")[0].split("-")[0] for codec in shown.codecs] == ["hf:qwen3_vl", "native"]
    assert 0.99 <= shown.raw_char_accuracy <= 1.0


def test_a_deleted_document_takes_its_pages_along(keeping: Resources, tmp_path: Path) -> None:
    document = ingest(keeping, paper(tmp_path, [STORY]))
    assert len(list(keeping.blobs.list())) == 3  # source, native caches, pages
    remove_document(keeping, document.id)
    assert list(keeping.blobs.list()) == []


def test_a_codec_that_is_named_later_is_filled_up_and_twice_is_once(home: Path, model: Path, tmp_path: Path) -> None:
    with Resources(Settings(home=home)) as plain:
        document = ingest(plain, paper(tmp_path, [STORY] * 3))
    with Resources(Settings(home=home, page_codecs=(f"hf:{model}",))) as keeping:
        assert page_rows(keeping, document) == []
        for _ in range(2):
            with transaction(keeping.engine) as session:
                catalog.enqueue(session, document.id, JobKind.PAGES)
            run_due_jobs(keeping)
            rows = page_rows(keeping, document)
            assert len(entries(keeping, rows)) == 3
        used = check_blobs(keeping.engine, keeping.blobs, read=True, now=4e9)
        assert (used.missing, used.orphans, used.damaged) == ((), (), ())


def test_a_model_that_fails_costs_no_document(home: Path, tmp_path: Path) -> None:
    model = save_model("qwen3_vl", tmp_path / "broken")
    (model / "preprocessor_config.json").unlink()
    with Resources(Settings(home=home, page_codecs=(f"hf:{model}",))) as keeping:
        document = ingest(keeping, paper(tmp_path, [STORY]))
        assert document.state is DocumentState.READY
        (warning,) = document.warnings
        assert warning.startswith(f"no page caches of hf:{model}: the image processor of broken cannot be loaded")
        assert "".join(read_document(keeping, document)).startswith("The gauge at Marlow Weir")
        assert page_rows(keeping, document) == []


def test_a_page_belongs_to_the_chunk_that_it_begins_in(keeping: Resources) -> None:
    from store.models import Chunk

    def chunk(number: int, *pages: int) -> Chunk:
        return Chunk(id=number, layout=[[0, 1, page, 0, 0, 1, 1, None, None] for page in pages])

    owned = owned_pages([chunk(1, 2, 3), chunk(2, 3), chunk(3, 3, 6), chunk(4, 9)], 11)
    assert owned == {1: range(1, 4), 2: range(4, 4), 3: range(4, 9), 4: range(9, 12)}
    assert owned_pages([chunk(1, 1), chunk(2, 1)], 1) == {1: range(1, 2), 2: range(2, 2)}


def test_the_doctor_makes_what_is_missing_or_damaged(home: Path, model: Path, tmp_path: Path) -> None:
    with Resources(Settings(home=home)) as plain:
        document = ingest(plain, paper(tmp_path, [STORY]))
        assert [f for f in examine(plain) if f.check == "pages"] == []
    with Resources(Settings(home=home, page_codecs=(f"hf:{model}",))) as keeping:

        def pages(**options: bool) -> Finding:
            (finding,) = (finding for finding in examine(keeping, **options) if finding.check == "pages")
            return finding

        assert (pages().ok, pages().detail) == (False, f"hf:{model}: paper.pdf: it lacks page caches")
        assert pages(repair=True).repaired
        assert pages(deep=True).ok
        (row,) = page_rows(keeping, document)
        path = keeping.blobs.local_path(row.blob)
        path.chmod(0o600)
        path.write_bytes(path.read_bytes()[:-1])
        assert "is damaged: it is cut off" in pages().detail
        assert pages(repair=True).repaired
        assert pages(deep=True).ok
        assert all(finding.ok for finding in examine(keeping, deep=True))


def test_pages_are_kept_in_every_size_that_is_named(home: Path, model: Path, tmp_path: Path) -> None:
    with Resources(Settings(home=home, page_codecs=(f"hf:{model}",), page_scales=(0.5,))) as keeping:
        document = ingest(keeping, paper(tmp_path, [STORY * 8] * 2))
        full, half = sized_rows(keeping, document)
        assert [row.ordinal for row in full] == [row.ordinal for row in half]
        assert entries(keeping, full) == entries(keeping, half)
        assert {row.blob for row in full}.isdisjoint(row.blob for row in half)
        tokens = [sum(row.vision_tokens for row in rows) for rows in (full, half)]
        assert 0 < tokens[1] < tokens[0]
        detail = f"hf:{model}, its pages carry {keeping.page_codec(f'hf:{model}').model}"
        assert [f for f in examine(keeping, deep=True) if f.check == "pages"] == [Finding("pages", True, detail)]
        remove_document(keeping, document.id)
        assert list(keeping.blobs.list()) == []


def test_a_size_that_is_named_later_is_filled_up_and_one_that_is_not_any_more_goes(
    home: Path, model: Path, tmp_path: Path
) -> None:
    settings = Settings(home=home, page_codecs=(f"hf:{model}",), device="cpu")
    with Resources(settings) as keeping:
        document = ingest(keeping, paper(tmp_path, [STORY]))
        (full,) = sized_rows(keeping, document)

    def repaired(changed: Resources) -> tuple[str, bool]:
        (before,) = (finding for finding in examine(changed) if finding.check == "pages")
        (after,) = (finding for finding in examine(changed, repair=True) if finding.check == "pages")
        return before.detail, after.repaired

    with Resources(settings.model_copy(update={"page_scales": (0.5, 0.25)})) as more:
        assert repaired(more) == (f"hf:{model}: paper.pdf: it lacks page caches", True)
        assert sized_rows(more, document)[0] == full  # as they were
        assert [len(rows) for rows in sized_rows(more, document)] == [1, 1, 1]
    with Resources(settings.model_copy(update={"page_scales": (0.25,)})) as fewer:
        left = "it still has page caches of a size or recipe that the settings no longer name"
        assert repaired(fewer) == (f"hf:{model}: paper.pdf: {left}", True)
        assert sized_rows(fewer, document)[0] == full
        with reading(fewer.engine) as session:
            (figures,) = catalog.document_figures(session, [document.id]).values()
        assert sum(item.codec.startswith("hf:") for item in figures) == 2
        used = check_blobs(fewer.engine, fewer.blobs, read=True, now=4e9)
        assert (used.missing, used.orphans, used.damaged) == ((), (), ())


def test_the_doctor_says_why_pages_cannot_be_made(home: Path, tmp_path: Path) -> None:
    model = save_model("qwen3_vl", tmp_path / "broken")
    (model / "preprocessor_config.json").unlink()
    with Resources(Settings(home=home, page_codecs=(f"hf:{model}",))) as keeping:
        ingest(keeping, paper(tmp_path, [STORY]))
        (finding,) = (finding for finding in examine(keeping, repair=True) if finding.check == "pages")
    assert not finding.ok
    assert "paper.pdf still has none: no page caches of" in finding.detail
    assert "the image processor of broken cannot be loaded" in finding.detail
