"""Owns what is read of cells, where what a network reads of them and what their own numbers tell come together.

A network learns slowly which of 70,000 glyphs a rare one is: the numbers tell it. It decides where several characters
look alike and their word does not tell which, and it reads what a style has changed.

Numbers are the same on every device, logits are not quite. So what is decided by how sure the network is, or by what it
reads of a cell's neighbours, is doubtful wherever another device could decide it the other way.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from compressor.codec.glyphs import Glyphs, Listed, as_one, packed
from compressor.codec.lookalikes import NONE
from compressor.codec.residual import SURE
from compressor.codec.typography import BLANK

UNREADABLE = 0x1FFFF  # the class of a continuation
# A choice whose probability lies between these may be SURE on one device and not on another: as logits move there.
NEAR = (0.5, 0.9)


@dataclass(slots=True)
class Choice:
    """What a network reads of cells, (strips, 56) each; `settle` mends it in place."""

    found: Tensor  # int64 classes
    spread: Tensor  # float32, one by the probability of the byte that is less sure
    low: Tensor  # (strips, 56, 256) logits of the low byte
    high: Tensor  # (strips, 56, 512) of the high one
    styled: Tensor  # bool
    doubt: Tensor  # bool: another device might read another character
    style_doubt: Tensor  # bool: another device might read another style


@dataclass(frozen=True, slots=True)
class Parsed:
    """What cells were found to be, (strips, 56) bool."""

    firm: Tensor  # the network's choice stands
    near: Tensor  # on another device it may, or may not
    contested: Tensor  # a wide character or two narrow ones


def settle(glyphs: Glyphs, choice: Choice, own: Tensor) -> None:
    """Mends what the network chose by the cells' own numbers as stored, (strips, 56, numbers) uint8.

    A choice that is sure, and has these numbers, stands. Elsewhere the numbers decide, and where they are those of
    several characters the network among these. Styled cells are the network's, but where the numbers are those of
    a plain wide character: no style makes them of another one.
    """
    keys = as_one(packed(own))
    pairs = keys << (4 * own.shape[-1]) | _next(keys, NONE)
    second = glyphs.second[choice.found]
    leads = second != NONE
    agrees = (glyphs.first[choice.found] == keys) & (~leads | (second == _next(keys, NONE)))
    sure = choice.spread <= 1 / SURE
    choice.doubt |= choice.style_doubt & ~(agrees & sure)  # styled or not, other things are believed
    if not glyphs.tell_style:
        agrees &= ~choice.styled
    near = agrees & (choice.spread > 1 / NEAR[1]) & (choice.spread < 1 / NEAR[0])
    firm = agrees & sure
    whole = firm & leads
    firm |= _previous(whole) if glyphs.tell_style else _previous(whole) | choice.styled
    open = ~firm | near
    paired = open & _next(open, False)
    paired[paired.clone()] = _knows(glyphs.wide, pairs[paired])
    # On another device these may not be a wide character.
    contested = paired & (near & ~leads | _next(near, False))
    contested |= _previous(contested)
    chosen = _every_other(paired & ~firm & ~_next(firm, False))
    _choose(glyphs, choice, glyphs.wide, pairs, chosen)
    whole |= chosen
    choice.found[whole] = glyphs.alike.plain[choice.found[whole]]
    _continue(choice, whole)
    _choose(glyphs, choice, glyphs.narrow, keys, ~firm & ~choice.styled & ~whole & ~_previous(whole))
    _tell_apart(glyphs, choice, keys, Parsed(firm, near, contested))
    choice.doubt |= contested
    if glyphs.tell_style:
        plain = whole | _previous(whole)
        choice.styled &= ~plain
        choice.style_doubt &= ~plain


def _tell_apart(glyphs: Glyphs, choice: Choice, keys: Tensor, parsed: Parsed) -> None:
    """Of narrow characters that look alike, those of their word's script; of signs the plain one.

    Where a word has no letter of one script alone, its strip tells the script. That much a sure network knows better,
    and whether it sees a sign of no script.
    """
    told = (glyphs.first[choice.found] == keys) & (glyphs.second[choice.found] == NONE)
    possible = told & (~choice.styled | choice.style_doubt)
    told &= ~choice.styled
    certain = told & ~choice.style_doubt & ~parsed.contested
    choice.found[told] = glyphs.alike.plain[choice.found[told]]
    choice.doubt &= ~(certain & glyphs.alike.sign[choice.found])
    rows = glyphs.alike.mixed(choice.found, possible).nonzero()[:, 0]
    if not len(rows):
        return
    found, told = choice.found[rows], told[rows]
    by_word, by_strip = glyphs.alike.scripts_around(
        found, keys[rows] == glyphs.first[BLANK], certain[rows], possible[rows]
    )
    by_itself = by_word.number > 0
    script = torch.where(by_itself, by_word.number, by_strip.number)
    open = told & glyphs.alike.ambiguous[found]
    other = open & (script > 0) & (glyphs.alike.script[found] != script)
    leaning = ~by_itself | (glyphs.alike.script[found] == 0)  # what a sure network knows better
    doubtful = (
        ~by_word.stable | leaning & other & parsed.near[rows] | ~by_itself & ~by_strip.stable & ~parsed.firm[rows]
    )
    where = torch.zeros_like(choice.styled)
    where[rows] = other & ~(leaning & parsed.firm[rows])
    expected = torch.zeros_like(keys)
    expected[rows] = script
    _choose(glyphs, choice, glyphs.narrow, keys, where, expected)
    choice.doubt[rows] |= open & doubtful


def _knows(listed: Listed, keys: Tensor) -> Tensor:
    begins, ends = listed.find(keys)
    return ends > begins


def _continue(choice: Choice, wide: Tensor) -> None:
    """The cells behind the first ones of wide characters are their second ones."""
    behind = _previous(wide)
    choice.found[behind] = UNREADABLE
    choice.doubt[behind] = False


def _choose(
    glyphs: Glyphs, choice: Choice, listed: Listed, keys: Tensor, where: Tensor, script: Tensor | None = None
) -> None:
    """Of some cells the likeliest of the characters that have their numbers, those of the script before others.

    Cells of no character's numbers stay as they are.
    """
    begins, ends = listed.find(keys[where])
    known = ends > begins
    where = where.clone()
    where[where.clone()] = known
    begins, ends = begins[known, None], ends[known, None]
    if not len(begins):
        return
    places = begins + torch.arange(int((ends - begins).max()), device=keys.device)
    characters = listed.characters[places.clamp(max=len(listed.characters) - 1)]  # (cells, as many as look alike)
    scores = choice.low[where].gather(1, characters % 256).float()
    scores += choice.high[where].gather(1, characters // 256).float()
    if script is not None:
        scores += glyphs.alike.preference(characters, script[where][:, None])
    scores = scores.masked_fill(places >= ends, -torch.inf)
    best, chosen = scores.max(1, keepdim=True)
    choice.found[where] = characters.gather(1, chosen)[:, 0]
    choice.doubt[where] = (scores - best).exp().sum(1) > 1 / SURE


def _next(cells: Tensor, last: int) -> Tensor:
    """What the cell behind each one has; `last` behind a strip's last."""
    return functional.pad(cells[:, 1:], (0, 1), value=last)


def _previous(cells: Tensor) -> Tensor:
    """What the cell before each one has, False before a strip's first."""
    return functional.pad(cells[:, :-1], (1, 0), value=False)


def _every_other(cells: Tensor) -> Tensor:
    """Of cells in a row the first, third, ...: a wide character takes two."""
    columns = torch.arange(cells.shape[1], device=cells.device)
    before = torch.where(cells, NONE, columns).cummax(1).values  # the last one before that is none of them
    return cells & ((columns - before) % 2 == 1)
