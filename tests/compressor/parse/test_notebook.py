"""A notebook is read as people see it: its Markdown, its code and what that printed."""

import json
from pathlib import Path

import pytest

from compressor.types import BlockKind
from tests.compressor.parse.test_formats import outline, parsed

PLOT = {"output_type": "display_data", "data": {"image/png": "iVBORw0KGgo=\n"}, "metadata": {}}
CELLS = [
    {"cell_type": "markdown", "metadata": {}, "source": ["# Water at the weir\n", "\n", "Read **daily**, at six."]},
    {
        "cell_type": "code",
        "execution_count": 1,
        "metadata": {},
        "source": ["levels = read()\n", "levels.head(1)"],
        "outputs": [
            {"output_type": "stream", "name": "stdout", "text": ["\u001b[31m4 missing\u001b[0m\n"]},
            {
                "output_type": "execute_result",
                "data": {"text/html": "<b>0</b>", "text/plain": ["   day  mm\n", "0    1  370"]},
                "execution_count": 1,
                "metadata": {},
            },
            PLOT,
            {"output_type": "error", "ename": "KeyError", "evalue": "'mm'", "traceback": ["\u001b[0;31mKeyError"]},
        ],
    },
    {"cell_type": "raw", "metadata": {}, "source": "as it is"},
]
READ = [
    ("heading", "Water at the weir"),
    ("text", "Read daily, at six."),
    ("code", "levels = read()\nlevels.head(1)"),
    ("code", "4 missing"),
    ("code", "   day  mm\n0    1  370"),
    ("code", "KeyError: 'mm'"),
    ("code", "as it is"),
]


def test_cells_come_in_order_with_what_they_printed(tmp_path: Path) -> None:
    document = parsed(tmp_path, json.dumps({"cells": CELLS, "nbformat": 4, "metadata": {}}), "weir.ipynb")
    assert (document.media_type, document.title) == ("application/x-ipynb+json", "Water at the weir")
    assert outline(document) == READ
    assert document.blocks[1].styles
    assert document.warnings == ("weir.ipynb shows 1 outputs as pictures alone, which are not read.",)
    boxes = [block.box for block in document.blocks]
    assert boxes == sorted(boxes, key=lambda box: box.y0)
    assert (boxes[0].y0, boxes[-1].y1) == (0.0, pytest.approx(1.0))


def test_a_notebook_of_version_3_is_read_too(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "heading", "level": 2, "source": ["Levels"]},
        {
            "cell_type": "code",
            "input": "mean(levels)",
            "outputs": [{"output_type": "pyout", "text": ["370.5"]}, {"output_type": "display_data", "png": "iVBO"}],
        },
    ]
    document = parsed(tmp_path, json.dumps({"worksheets": [{"cells": cells}], "nbformat": 3}), "old.ipynb")
    assert outline(document) == [("heading", "Levels"), ("code", "mean(levels)"), ("code", "370.5")]
    assert document.blocks[0].level == 2
    assert len(document.warnings) == 1


@pytest.mark.parametrize(
    "text",
    [
        '{"cells": 4}',
        '["cells"]',
        '{"cells": [{"source": []}]}',
        '{"cells": [{"cell_type": "raw", "source": 1}]}',
        "{}",
    ],
)
def test_what_is_no_notebook_is_read_as_json(tmp_path: Path, text: str) -> None:
    document = parsed(tmp_path, text, "a.ipynb")
    assert outline(document) == [(BlockKind.CODE.value, text)]
    assert document.warnings == ("a.ipynb is no notebook; it was read as JSON.",)
