"""Owns the making of atlas.npz from GNU Unifont's own files.

Debian carries them as `unifont` (unifont.hex, planes 0) and `fonts-unifont` (unifont_upper.otf, plane 1):

    python -m compressor.codec.build_atlas unifont.hex unifont_upper.otf
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from compressor.codec.atlas import ATLAS_PATH, CELL_HEIGHT, PLANES

MISSING = """
........
.######.
.#....#.
.#.##.#.
.##..##.
.#...##.
.#..#.#.
.#..#.#.
.#....#.
.#..#.#.
.#..#.#.
.#....#.
.######.
........
........
........
"""
LINE_FEED = """
........
........
......#.
......#.
......#.
......#.
..#...#.
.##...#.
#######.
.##.....
..#.....
........
........
........
........
........
"""
TAB = """
........
........
........
........
#...#..#
#....#.#
########
########
#....#.#
#...#..#
........
........
........
........
........
........
"""


def bitmap(drawing: str) -> bytes:
    rows = drawing.split()
    return bytes(int(row.replace("#", "1").replace(".", "0"), 2) for row in rows)


def read_hex(path: Path) -> dict[int, bytes]:
    """Unifont's .hex: `CODE:BITMAP`, 32 digits for a narrow glyph, 64 for a wide one."""
    glyphs = {}
    for line in path.read_text("ascii").split():
        code, digits = line.split(":")
        glyphs[int(code, 16)] = bytes.fromhex(digits)
    return glyphs


def read_font(path: Path) -> dict[int, bytes]:
    """Draws plane 1 from the OpenType build; at 16 pixels Unifont's outlines fall on whole pixels."""
    font = ImageFont.truetype(path, 16)
    absent = font.getmask("\U0001fffd").getbbox(), bytes(font.getmask("\U0001fffd"))
    glyphs = {}
    for code in range(0x10000, PLANES - 2):
        mask = font.getmask(chr(code))
        if mask.getbbox() is None or (mask.getbbox(), bytes(mask)) == absent:
            continue
        width = 16 if font.getlength(chr(code)) > 8 else 8
        image = Image.new("1", (width, CELL_HEIGHT))
        ImageDraw.Draw(image).text((0, 14), chr(code), font=font, fill=1, anchor="ls")
        glyphs[code] = image.tobytes()
    return glyphs


def build(hex_path: Path, upper_path: Path, out: Path = ATLAS_PATH) -> None:
    """Writes the atlas; raises ValueError for a glyph that is neither 8 nor 16 pixels wide."""
    glyphs = read_hex(hex_path) | read_font(upper_path)
    glyphs |= {0x0A: bitmap(LINE_FEED), 0x09: bitmap(TAB)}
    first = np.zeros(PLANES, np.int32)
    wide = np.zeros(PLANES, np.bool_)
    cells = [np.frombuffer(bitmap(MISSING), np.uint8)]
    for code, glyph in sorted(glyphs.items()):
        if len(glyph) not in (16, 32):
            raise ValueError(f"U+{code:04X} has {len(glyph)} bytes, not 16 or 32")
        first[code] = len(cells)
        wide[code] = len(glyph) == 32
        rows = np.frombuffer(glyph, np.uint8).reshape(CELL_HEIGHT, -1)
        cells.extend(rows.T)
    np.savez_compressed(out, cells=np.ascontiguousarray(np.stack(cells)), first=first, wide=wide)
    sys.stdout.write(f"{out}: {len(glyphs):,} glyphs, {len(cells):,} cells, {out.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    build(Path(sys.argv[1]), Path(sys.argv[2]))
