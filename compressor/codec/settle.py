"""Owns what is read of cells, where what a network reads of them and what their own numbers tell come together.

A network learns slowly which of 70,000 glyphs a rare one is: the numbers tell it. It decides where several characters
look alike and their word does not tell which, and it reads what a style has changed. So a strip is settled in four
steps:

1. A cell is firm where its numbers are a tab's, or the network is sure of a character that has them. That stands.
2. Cells that are not firm, and whose numbers in a row are those of a wide character, are one.
3. What is left is one of the narrow characters that have its numbers, where there are any.
4. Of narrow characters that look alike it is that of its word's script, or of its strip's.

Numbers are the same on every device, logits are not quite. So what is decided by how sure the network is, or by what it
reads of a cell's neighbours, is doubtful wherever another device could decide it the other way.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from compressor.codec.glyphs import Glyphs, Listed
from compressor.codec.lookalikes import NONE
from compressor.codec.residual import STYLE_SURE, SURE
from compressor.codec.typography import BLANK

UNREADABLE = 0x1FFFF  # the class of a continuation
# A choice whose probability lies between these may be SURE on one device and not on another: as logits move there.
NEAR = (0.5, 0.9)
# From this logit of a style on a cell is the network's, where numbers do not tell a style. Of rare plain glyphs many a
# logit is about 0, and all of them would be doubtful.
STYLED = 2 * STYLE_SURE
TAB = 0x09


@dataclass(slots=True)
class Choice:
    """What a network reads of cells, (strips, 56) each; `settle` mends it in place."""

    found: Tensor  # int64 classes
    spread: Tensor  # float32, one by the probability of the byte that is less sure
    low: Tensor  # (strips, 56, 256) logits of the low byte
    high: Tensor  # (strips, 56, 512) of the high one
    style: Tensor  # the logit of the likeliest style
    doubt: Tensor  # bool: another device might read another character
    style_doubt: Tensor  # bool: another device might read another style
    plain: Tensor  # bool: no style, whatever the network reads
    told: Tensor  # bool: the cell's own numbers alone tell the character


@dataclass(frozen=True, slots=True)
class Styled:
    """Where a style may have made the numbers another's, (strips, 56) bool."""

    here: Tensor
    wavering: Tensor  # here and not on another device, or the other way


@dataclass(frozen=True, slots=True)
class Parsed:
    """How strips fall into narrow and wide characters, (strips, 56) bool."""

    firm: Tensor  # the network's choice stands, or that of the wide character before
    near: Tensor  # on another device it might stand where it does not here, or the other way
    whole: Tensor  # the first cells of wide characters
    chosen: Tensor  # of these, those which the numbers tell and not the network
    contested: Tensor  # another device might find a wide character where here are two narrow ones, or the other way


def tell_tabs(tab: Tensor, choice: Choice, keys: Tensor) -> None:
    """Has cells be tabs where their numbers are, whatever the network reads: it has hardly seen several in a row.

    Of a tab whose numbers are those of a styled one the network says the styles. tab: a tab's numbers as one, plain and
    styled as code, (2,); keys: the cells' as one, (strips, 56), both int64.
    """
    plain, coded = keys == tab[0], keys == tab[1]
    choice.told |= plain | coded
    choice.found.masked_fill_(choice.told, TAB)
    choice.spread.masked_fill_(choice.told, 1)
    choice.doubt &= ~choice.told
    choice.plain |= plain
    choice.style_doubt &= ~plain
    choice.style.masked_fill_(plain, -torch.inf).masked_fill_(coded, torch.inf)


def settle(glyphs: Glyphs, choice: Choice, keys: Tensor) -> None:
    """Mends what the network chose by the cells' own numbers as one, (strips, 56) int64.

    Styled cells are the network's, but where the numbers are those of a plain wide character: no style makes them of
    another one.
    """
    pairs = keys << glyphs.bits | _next(keys, NONE)
    second = glyphs.second[choice.found]
    leads = second != NONE
    agrees = choice.told | (glyphs.first[choice.found] == keys) & (~leads | (second == _next(keys, NONE)))
    above = choice.style if glyphs.tell_style else choice.style - STYLED
    styled = Styled(above > 0, above.abs() < STYLE_SURE)
    parsed = _parse(glyphs, choice, styled, pairs, agrees, leads)
    continued = _previous(parsed.whole)
    # Plain, it is one of those that have its numbers; styled, what the network says.
    doubt = styled.wavering & ~(agrees & (choice.spread <= 1 / SURE))
    if glyphs.tell_style:
        doubt &= ~(parsed.whole | continued)
    doubt |= parsed.contested
    _choose(glyphs, choice, glyphs.wide, pairs, parsed.chosen)
    choice.found[parsed.whole] = glyphs.alike.plain[choice.found[parsed.whole]]
    choice.found[continued] = UNREADABLE
    choice.doubt[continued] = False
    _choose(glyphs, choice, glyphs.narrow, keys, ~(parsed.firm | styled.here | parsed.whole | continued))
    narrow = (glyphs.first[choice.found] == keys) & (glyphs.second[choice.found] == NONE)
    alike = glyphs.alike.ambiguous[choice.found] | (glyphs.alike.plain[choice.found] != choice.found)
    doubt |= narrow & styled.wavering & alike  # what is styled is not told apart
    _tell_apart(glyphs, choice, keys, narrow, styled, parsed)
    choice.doubt |= doubt
    if glyphs.tell_style:
        choice.plain |= parsed.whole | continued
        choice.style_doubt &= ~choice.plain
        choice.style_doubt |= parsed.contested & (choice.style > -STYLE_SURE)


def _parse(glyphs: Glyphs, choice: Choice, styled: Styled, pairs: Tensor, agrees: Tensor, leads: Tensor) -> Parsed:
    """Which cells are firm, and which are wide characters.

    pairs: the numbers of each cell and the next; agrees: the network's choice has the numbers; leads: it is a wide one.
    """
    # What a style has made of the numbers tells nothing, unless the numbers tell a style.
    kept = styled.here & (not glyphs.tell_style)
    flips = styled.wavering & (not glyphs.tell_style)
    sure = agrees & ~kept & (choice.spread <= 1 / SURE)
    near = flips | agrees & ~kept & (choice.spread > 1 / NEAR[1]) & (choice.spread < 1 / NEAR[0])
    firm, whole = sure | kept, sure & leads
    open = ~firm | near
    paired = open & _next(open, False)
    paired[paired.clone()] = _knows(glyphs.wide, pairs[paired])
    # On some device a wide character begins here.
    begins = paired | agrees & leads & (~kept | flips) & (choice.spread < 1 / NEAR[0])
    # The network or the numbers, both find the same one here.
    either = near & ~flips & leads & ~_next(firm | near, False) & ~_previous(begins) & ~_next(begins, False)
    contested = _reached(near & ~either, begins) & (begins | _previous(begins))
    firm |= _previous(whole)
    chosen = _every_other(paired & ~firm & ~_next(firm, False))
    return Parsed(firm, near, whole | chosen, chosen, contested)


def _reached(cells: Tensor, begins: Tensor) -> Tensor:
    """The cells whose reading hangs on some of these, (strips, 56) bool.

    Where a wide character may begin in each of several cells in a row, one that begins here does not in the next.
    """
    row = (~_previous(begins)).cumsum(1)
    counts = torch.zeros(len(row), row.shape[1] + 1, dtype=torch.int32, device=row.device)
    return counts.scatter_add_(1, row, cells.int()).gather(1, row) > 0


def _tell_apart(glyphs: Glyphs, choice: Choice, keys: Tensor, narrow: Tensor, styled: Styled, parsed: Parsed) -> None:
    """Of narrow characters that look alike, those of their word's script; of signs the plain one.

    narrow: the cells that are narrow characters of these numbers, if no style has made them. Where a word has no letter
    of one script alone, its strip tells the script. That much a sure network knows better, and whether it sees a sign
    of no script.
    """
    alike = glyphs.alike
    told = narrow & ~styled.here
    certain = told & ~styled.wavering & ~parsed.contested
    choice.found[told] = alike.plain[choice.found[told]]
    choice.doubt &= ~(certain & alike.sign[choice.found])
    # What would be told, too, if it were plain and narrow, and may be that on another device.
    hidden = (styled.wavering | parsed.contested) & ~narrow
    seen = choice.found.clone()
    begins, ends = glyphs.narrow.find(keys[hidden])
    hidden[hidden.clone()] = ends > begins
    seen[hidden] = glyphs.narrow.characters[begins[ends > begins]]
    possible = told | narrow & styled.wavering | hidden
    rows = alike.mixed(seen, possible).nonzero()[:, 0]
    if not len(rows):
        return
    found, told, near, firm = seen[rows], told[rows], parsed.near[rows], parsed.firm[rows]
    by_word, by_strip = alike.scripts_around(
        found, keys[rows] == glyphs.first[BLANK], told, certain[rows], possible[rows]
    )
    by_itself = by_word.number > 0
    script = torch.where(by_itself, by_word.number, by_strip.number)
    open = told & alike.ambiguous[found]
    other = open & (script > 0) & (alike.script[found] != script)
    leaning = ~by_itself | (alike.script[found] == 0)  # what a sure network knows better
    doubtful = ~by_word.stable | leaning & other & near | ~by_itself & ~by_strip.stable & (~firm | near)
    where = torch.zeros_like(styled.here)
    where[rows] = other & ~(leaning & firm)
    expected = torch.zeros_like(keys)
    expected[rows] = script
    _choose(glyphs, choice, glyphs.narrow, keys, where, expected)
    choice.doubt[rows] |= open & doubtful


def _knows(listed: Listed, keys: Tensor) -> Tensor:
    begins, ends = listed.find(keys)
    return ends > begins


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
