"""What was read is kept under a budget, the longest unused goes first, and what is gone goes at once."""

from compressor.vlm.kept import Kept


def test_the_longest_unused_goes_first() -> None:
    kept: Kept[str] = Kept(10)
    kept.put("a", "A", size=4, sources={"1"})
    kept.put("b", "B", size=4, sources={"2"})
    assert kept.get("a") == "A"
    kept.put("c", "C", size=4, sources={"3"})
    assert [kept.get(key) for key in "abc"] == ["A", None, "C"]
    assert (len(kept), kept.size) == (2, 8)


def test_a_value_under_a_key_is_replaced_with_its_size() -> None:
    kept: Kept[str] = Kept(10)
    kept.put("a", "A", size=8, sources={"1"})
    kept.put("a", "B", size=3, sources={"2"})
    assert (kept.get("a"), kept.size, kept.sources) == ("B", 3, {"2"})


def test_what_is_larger_than_the_budget_is_not_kept() -> None:
    kept: Kept[str] = Kept(10)
    kept.put("a", "A", size=11, sources={"1"})
    assert (kept.get("a"), kept.size) == (None, 0)
    nothing: Kept[str] = Kept(0)
    nothing.put("a", "A", size=1, sources={"1"})
    assert len(nothing) == 0


def test_every_value_of_a_source_that_is_gone_goes() -> None:
    kept: Kept[str] = Kept(10)
    kept.put("a", "A", size=1, sources={"1", "2"})
    kept.put("b", "B", size=1, sources={"2"})
    kept.put("c", "C", size=1, sources={"3"})
    assert kept.forget(lambda source: source == "2") == 2
    assert (kept.sources, kept.size) == ({"3"}, 1)
    kept.clear()
    assert (len(kept), kept.size) == (0, 0)
