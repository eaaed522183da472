"""Tabs side by side, which the networks have hardly seen, are read right: their own numbers tell them."""

import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from compressor.codec.adaptive import Budget, encode_adaptive
from compressor.codec.atlas import load_atlas
from compressor.codec.glyphs import ALL_TOLD, LEVELS, glyphs_path, load_tab, own_numbers
from compressor.codec.native import NativeCodec, load_codec, set_texts
from compressor.codec.typography import characters_of
from compressor.codec.weights import DIRECTORY, RATES
from compressor.errors import ModelError
from compressor.styles import Style

CPU = torch.device("cpu")
CODE = """func (q *Queue) Claim(ctx context.Context, kind string) (*Job, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for id, job := range q.waiting {
		if job.Kind != kind {
			continue
		}
		switch {
		case job.Attempts >= q.most:
			if err := q.bury(ctx, id); err != nil {
				return nil, fmt.Errorf("bury %s: %w", id, err)
			}
		default:
			job.Attempts++
			job.Deadline = time.Now().Add(q.lease)
			return job, nil
		}
	}
	return nil, ErrEmpty
}

"""


@cache
def _codec(level: int) -> NativeCodec:
    return load_codec(f"native-{RATES[level]}", device="cpu")


@pytest.mark.parametrize("style", [Style.PLAIN, Style.CODE], ids=["plain", "code"])
@pytest.mark.parametrize("level", LEVELS)
def test_code_that_tabs_indent_is_read_as_well_as_other_code(level: int, style: Style) -> None:
    styles = np.full(len(CODE), style, np.uint8)
    (cache,) = _codec(level).encode([CODE], [styles])
    (grid,), raw = set_texts([CODE]), _codec(level).read_raw(cache)
    assert (raw.codes[grid.codes == ord("\t")] == ord("\t")).all()
    assert cache.raw_char_accuracy > 0.99
    assert _codec(level).read([cache]) == [CODE]
    assert (_codec(level).read_styles([cache])[0] == styles).all()


def test_code_that_tabs_indent_takes_no_more_tokens_than_other_code() -> None:
    tabs, codecs = CODE * 8, [_codec(level) for level in range(len(RATES))]
    spaces = tabs.replace("\t", " ")  # of the same length
    styles = [np.full(len(tabs), Style.CODE, np.uint8)] * 2
    by_tabs, by_spaces = encode_adaptive(codecs, [tabs, spaces], styles, budget=Budget())
    assert len(by_tabs.levels) == len(by_spaces.levels)


@pytest.mark.parametrize("level", LEVELS)
def test_no_usual_character_has_the_numbers_of_a_tab(level: int) -> None:
    """In no style: else it would be read as one."""
    codec = _codec(level)
    tab = load_tab(codec.name, level, DIRECTORY, CPU)
    assert tab is not None
    usual = "\n" + "".join(map(chr, range(0x20, 0x7F))) + "–—‘’“”…•äöüßéèçñ"
    for style in map(Style, (0, 1, 2, 3, 4, 8, 9, 10, 16, 20, 24, 32, 36, 40, 48, 52, 56)):
        (grid,) = set_texts([usual], [np.full(len(usual), style, np.uint8)])
        own = own_numbers(torch.from_numpy(codec.draw_and_encode([grid])[-1][0]), level).long()
        keys = (own << 4 * torch.arange(own.shape[-1])).sum(-1)[: len(grid.codes)].numpy()
        assert not np.isin(keys[characters_of(grid)], tab.numpy()).any()


@pytest.mark.parametrize("level", ALL_TOLD)
def test_no_glyph_has_the_numbers_of_a_tab(level: int) -> None:
    codec = _codec(level)
    tab = load_tab(codec.name, level, DIRECTORY, CPU)
    assert tab is not None
    assert codec._glyphs is not None
    assert load_atlas().first[ord("\t")]
    assert torch.isin(codec._glyphs.first, tab).nonzero().flatten().tolist() == [ord("\t")]
    assert not torch.isin(codec._glyphs.second, tab).any()


@pytest.mark.parametrize("level", LEVELS)
def test_a_tab_of_another_rate_is_refused(level: int, tmp_path: Path) -> None:
    codec = _codec(level)
    shutil.copy(glyphs_path(f"native-{RATES[LEVELS[level - 1]]}", DIRECTORY), glyphs_path(codec.name, tmp_path))
    message = rf"{codec.name}.glyphs cannot be read \(a tab of the shape \(2, \d\) is another rate's\): reinstall"
    with pytest.raises(ModelError, match=message):
        load_tab(codec.name, level, tmp_path, CPU)
