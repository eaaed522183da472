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


def test_outputs_are_read_in_the_form_that_people_see(tmp_path: Path) -> None:
    shown = [
        {"image/png": "iVBO", "text/plain": ["<Figure size 640x480 with 1 Axes>"]},
        {"text/html": ["<h3>Levels</h3>"], "text/plain": ["<IPython.core.display.HTML object>"]},
        {"text/markdown": "**370** mm", "text/plain": "<IPython.core.display.Markdown object>"},
        {"text/html": "<p>no plain form</p>"},
        {"text/plain": "<Weir at 0x7f>"},
    ]
    outputs = [{"output_type": "display_data", "data": data} for data in shown]
    cells = [{"cell_type": "code", "source": "plot()", "outputs": outputs}]
    document = parsed(tmp_path, json.dumps({"cells": cells}), "weir.ipynb")
    assert outline(document) == [
        ("code", "plot()"),
        ("heading", "Levels"),
        ("text", "370 mm"),
        ("text", "no plain form"),
        ("code", "<Weir at 0x7f>"),
    ]
    assert document.warnings == ("weir.ipynb shows 1 outputs as pictures alone, which are not read.",)


def test_a_rule_at_the_top_of_a_cell_begins_no_front_matter(tmp_path: Path) -> None:
    cells = [{"cell_type": "markdown", "source": "---\n## Task 2\nMeasure.\n\n---\nNext"}]
    document = parsed(tmp_path, json.dumps({"cells": cells}), "a.ipynb")
    assert outline(document) == [("heading", "Task 2"), ("text", "Measure."), ("text", "Next")]


def test_headings_of_version_3_have_levels_and_words(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "heading", "level": level, "source": said} for level, said in ((0, "a\nb"), (9, ""), (1e999, "c"))
    ]
    document = parsed(tmp_path, json.dumps({"worksheets": [{"cells": cells}]}), "old.ipynb")
    assert [(block.text, block.level) for block in document.blocks] == [("a b", 1), ("c", 6)]


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
