"""A page file keeps pages as they are stored, and no byte of it can change unnoticed."""

from pathlib import Path
from threading import Barrier

import pytest
import torch

from compressor.cachefile import CacheFile
from compressor.errors import CacheDamaged
from compressor.sealed import load_from, seal
from compressor.vlm import pagefile
from compressor.vlm.page import PageCache, PageTokens, store_page
from compressor.vlm.pagefile import PageFile, write_pages
from compressor.vlm.rows import ROW_FORMATS, RowFormat
from tests.compressor.test_cachefile import Counted


def make_page(seed: int, *, format: RowFormat = "int8", rows: int = 2, columns: int = 3, levels: int = 0) -> PageCache:
    generator = torch.Generator().manual_seed(seed)
    tokens = rows * columns
    tokens_of_page = PageTokens(
        features=torch.randn(tokens, 16, generator=generator),
        deepstack=torch.randn(levels, tokens, 16, generator=generator) if levels else None,
        grid=(rows, columns) if levels else None,
        ids=torch.tensor([7, *tokens * [9], 8]),
    )
    return store_page(tokens_of_page, codec=f"hf:tiny@{seed:012}", image_token=9, format=format)


def equal(a: PageCache, b: PageCache) -> bool:
    same = (a.codec, a.grid, a.image_token, a.ids.tolist()) == (b.codec, b.grid, b.image_token, b.ids.tolist())
    pairs = zip((a.features, *a.deepstack), (b.features, *b.deepstack), strict=True)
    return same and all(
        x.format == y.format and torch.equal(x.values, y.values) and torch.equal(x.scales, y.scales) for x, y in pairs
    )


@pytest.fixture
def pages() -> dict[str, PageCache]:
    made = {format: make_page(number, format=format) for number, format in enumerate(ROW_FORMATS)}
    return made | {"deep": make_page(8, levels=3), "large": make_page(9, rows=40, columns=50, format="int4")}


def test_pages_come_back_as_they_were(tmp_path: Path, pages: dict[str, PageCache]) -> None:
    path = tmp_path / "pages"
    path.write_bytes(write_pages(pages))
    with PageFile(path) as file:
        assert sorted(file) == sorted(pages)
        assert all(equal(file.load(entry), page) for entry, page in pages.items())
        assert file.positions("large") == pages["large"].positions == 2002
        assert file.facts("deep")["levels"] == 3


def test_equal_pages_give_equal_bytes(pages: dict[str, PageCache]) -> None:
    assert write_pages(pages) == write_pages(dict(reversed(pages.items())))


def test_every_flipped_byte_is_detected(tmp_path: Path) -> None:
    data = write_pages({"0": make_page(3, levels=1)})
    path = tmp_path / "pages"
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(CacheDamaged, match="page file pages is damaged"), PageFile(path) as file:
            file.verify()


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"format": "fp4"}, "rows of format 'fp4' cannot be read; these can: int8, int4, bf16, f32"),
        ({"format": None}, "rows of format None cannot be read; these can: int8, int4, bf16, f32"),
        ({"format": "bf16"}, "the parts of 0 do not fit together"),
        ({"levels": 1_000_000_000}, "the parts of 0 do not fit together"),
        ({"levels": "1"}, "codec, image token, grid or levels of 0 are not told"),
        ({"codec": None}, "codec, image token, grid or levels of 0 are not told"),
        ({"image_token": 9.5}, "codec, image token, grid or levels of 0 are not told"),
        ({"image_token": 1 << 70}, "codec, image token, grid or levels of 0 are not told"),
        ({"image_token": -1}, "codec, image token, grid or levels of 0 are not told"),
        ({"grid": [2]}, "codec, image token, grid or levels of 0 are not told"),
        ({"grid": [2, 4]}, "the grid of 0 does not cover its 6 features"),
        ({"grid": [-2, -3]}, "the grid of 0 does not cover its 6 features"),
    ],
)
def test_facts_that_cannot_be_are_damage_at_once(tmp_path: Path, facts: dict[str, object], message: str) -> None:
    page = make_page(3, levels=1)
    path = tmp_path / "pages"
    path.write_bytes(seal(pagefile._kind(), {"0": (pagefile._facts(page) | facts, pagefile._parts(page))}))
    with pytest.raises(CacheDamaged, match=f"^page file pages is damaged: {message}; encode its pages anew"):
        PageFile(path)


@pytest.mark.parametrize("part", pagefile.PARTS)
def test_parts_of_other_shapes_are_damage_at_once(tmp_path: Path, part: str) -> None:
    page = make_page(3, levels=1)
    parts = pagefile._parts(page)
    path = tmp_path / "pages"
    path.write_bytes(seal(pagefile._kind(), {"0": (pagefile._facts(page), parts | {part: parts[part].ravel()})}))
    with pytest.raises(CacheDamaged, match="page file pages is damaged: the parts of 0 do not fit together"):
        PageFile(path)


@pytest.mark.parametrize(("format", "row"), [("bf16", 31), ("f32", 62)])
def test_rows_that_end_within_a_number_are_damage_at_once(tmp_path: Path, format: RowFormat, row: int) -> None:
    page = make_page(3, format=format)
    parts = {
        name: part[:, :row] if name in ("features", "deepstack") else part
        for name, part in pagefile._parts(page).items()
    }
    path = tmp_path / "pages"
    path.write_bytes(seal(pagefile._kind(), {"0": (pagefile._facts(page), parts)}))
    with pytest.raises(CacheDamaged, match="page file pages is damaged: the parts of 0 do not fit together"):
        PageFile(path)


@pytest.mark.parametrize(("kept", "token", "placed"), [(4, 9, 3), (8, 7, 1), (8, 5, 0)])
def test_a_page_without_a_place_for_each_feature_is_damage(tmp_path: Path, kept: int, token: int, placed: int) -> None:
    page = make_page(3)
    parts = pagefile._parts(page)
    path = tmp_path / "pages"
    facts = pagefile._facts(page) | {"image_token": token}
    path.write_bytes(seal(pagefile._kind(), {"0": (facts, parts | {"ids": parts["ids"][:kept]})}))
    with PageFile(path) as file, pytest.raises(CacheDamaged, match=f"0 has places for {placed} of its 6 features; enc"):
        file.load("0")


def test_any_number_of_levels_of_no_rows_is_damage(tmp_path: Path) -> None:
    page = make_page(3, rows=0)
    path = tmp_path / "pages"
    path.write_bytes(
        seal(pagefile._kind(), {"0": (pagefile._facts(page) | {"levels": 1 << 40}, pagefile._parts(page))})
    )
    with pytest.raises(CacheDamaged, match="the parts of 0 do not fit together"):
        PageFile(path)


def test_damage_in_one_page_leaves_the_others_readable(tmp_path: Path, pages: dict[str, PageCache]) -> None:
    data = bytearray(write_pages(pages))
    data[-1] ^= 1
    path = tmp_path / "pages"
    path.write_bytes(data)
    with PageFile(path) as file:
        *others, last = sorted(file)
        assert all(equal(file.load(entry), pages[entry]) for entry in others)
        message = f"page file pages is damaged: the checksum of {last} differs; encode its pages anew"
        with pytest.raises(CacheDamaged, match=message):
            file.load(last)


@pytest.mark.parametrize("keep", [0, 4, 100, 2000])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, pages: dict[str, PageCache], keep: int) -> None:
    path = tmp_path / "pages"
    path.write_bytes(write_pages(pages)[:keep])
    with pytest.raises(CacheDamaged, match="page file pages is damaged: it"):
        PageFile(path)


def test_a_file_that_changes_while_it_is_open_harms_nothing_that_was_read(
    tmp_path: Path, pages: dict[str, PageCache]
) -> None:
    path = tmp_path / "pages"
    data = write_pages(pages)
    path.write_bytes(data)
    with PageFile(path) as file:
        loaded = file.load_many(["int8", "deep", "bf16"])
        path.write_bytes(b"\xff" * (len(data) // 2))
        with pytest.raises(CacheDamaged, match=r"page file pages is damaged: it is cut off"):
            file.load("large")
    assert all(equal(page, pages[name]) for page, name in zip(loaded, ("int8", "deep", "bf16"), strict=True))


def test_a_later_version_is_refused_by_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compressor.vlm.pagefile.VERSION", "2")
    data = write_pages({"0": make_page(1)})
    monkeypatch.undo()
    path = tmp_path / "pages"
    path.write_bytes(data)
    with pytest.raises(CacheDamaged, match="it is of version 2; this installation reads version 1"):
        PageFile(path)


def test_a_page_file_is_no_cache_file(tmp_path: Path) -> None:
    path = tmp_path / "pages"
    path.write_bytes(write_pages({"0": make_page(1)}))
    with pytest.raises(CacheDamaged, match="cache file pages is damaged: its header cannot be read"):
        CacheFile(path)


def test_one_page_of_a_large_file_is_read_alone() -> None:
    pages = {f"{number:04}": make_page(number, rows=30, columns=40) for number in range(40)}
    far = Counted(write_pages(pages))
    with PageFile(far) as file:
        opened = len(far.requests)
        assert equal(file.load("0017"), pages["0017"])
    assert len(far.requests) == opened + 1
    assert far.requests[-1] < len(far.data) / 30


class Meeting(Counted):
    """A remote file whose pages come only when as many requests for them wait as there are to be at once."""

    def __init__(self, data: bytes, barrier: Barrier) -> None:
        super().__init__(data)
        self.barrier = barrier

    def read(self, start: int, length: int) -> bytes:
        if start:  # not the head
            self.barrier.wait(timeout=20)
        return super().read(start, length)


def test_pages_of_one_file_and_of_several_are_read_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compressor.sealed.reading_threads", lambda: 2)
    pages = {f"{number}": make_page(number, rows=200, columns=300) for number in range(2)}  # a megabyte each
    one = Meeting(write_pages(pages), Barrier(2))
    with PageFile(one) as file:
        loaded = file.load_many(["1", "0"])
    assert [equal(page, pages[entry]) for page, entry in zip(loaded, ["1", "0"], strict=True)] == [True, True]
    barrier = Barrier(2)
    files = [PageFile(Meeting(write_pages({entry: page}), barrier)) for entry, page in pages.items()]
    assert [
        [equal(page, pages[entry]) for page in part]
        for entry, part in zip(
            pages, load_from([(file, [entry]) for file, entry in zip(files, pages, strict=True)]), strict=True
        )
    ] == [[True], [True]]


def test_small_pages_come_in_one_request() -> None:
    pages = {f"{number}": make_page(number, rows=30, columns=70) for number in range(20)}
    far = Counted(write_pages(pages))
    with PageFile(far) as file:
        opened = len(far.requests)
        assert len(file.load_many(list(pages))) == 20
    assert len(far.requests) == opened + 1


def test_damage_is_found_wherever_it_lies_among_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compressor.ranges.PIECE_BYTES", 64)
    pages = {f"{number}": make_page(number, rows=5, columns=7, levels=2) for number in range(3)}
    data = write_pages(pages)
    path = tmp_path / "pages"
    path.write_bytes(data)
    with PageFile(path) as file:
        assert all(equal(page, pages[entry]) for page, entry in zip(file.load_many("201"), "201", strict=True))
    first = len(data) - sum(page.stored_bytes for page in pages.values())
    for place in range(first, len(data), 29):
        damaged = bytearray(data)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with PageFile(path) as file, pytest.raises(CacheDamaged, match=r"the checksum of [012] differs"):
            file.load_many("012")


def test_int8_takes_at_most_half_of_bf16_and_one_percent() -> None:
    """For the narrowest model of the list, SmolVLM-256M."""
    tokens = PageTokens(torch.randn(1088, 576), None, None, torch.full((1150,), 9))
    sizes = {format: store_page(tokens, codec="c", image_token=9, format=format).stored_bytes for format in ROW_FORMATS}
    assert sizes["int8"] <= 0.51 * sizes["bf16"]
    assert sizes["int4"] <= 0.26 * sizes["bf16"]
    page = store_page(tokens, codec="c", image_token=9)
    assert len(write_pages({"0": page})) - page.stored_bytes < 1500
