"""Sheets cost what stands on them, columns stay in line, and nothing on them is missed."""

import io
import time

import openpyxl
import pytest
from openpyxl.comments import Comment

from compressor.errors import DocumentTooLarge
from compressor.limits import Limits
from compressor.parse import parse


def parsed(tmp_path, book, **limits):
    path = tmp_path / "blob"
    data = io.BytesIO()
    book.save(data)
    path.write_bytes(data.getvalue())
    return parse(path, name="costs.xlsx", limits=Limits(**limits))


def test_a_cell_in_the_last_corner_costs_a_column_and_a_row(tmp_path):
    book = openpyxl.Workbook()
    book.active.append(["Id", "Due"])
    book.active["C1048576"] = "far down"
    book.active["XFD2"] = "far right"
    book.active["A4"] = "after a gap"
    started = time.monotonic()
    table = parsed(tmp_path, book).blocks[1]
    assert table.text == "Id | Due\n |  |  | far right\nafter a gap\n |  | far down"
    assert table.lines == (1, 1048576)
    assert time.monotonic() - started < 60  # of 17 billion cells


def test_a_table_far_from_the_corner_costs_no_more_than_one_in_it(tmp_path):
    book = openpyxl.Workbook()
    for row, cells in enumerate([("Id", "EUR", "Due"), (1, None, "May"), (2, 7, " ")], 100):
        for column, value in zip((500, 502, 900), cells, strict=True):
            book.active.cell(row, column, value)
    table = parsed(tmp_path, book).blocks[1]
    assert table.text == "Id | EUR | Due\n1 |  | May\n2 | 7"
    assert table.lines == (100, 102)


def test_columns_stay_in_line_where_only_some_rows_have_them(tmp_path):
    book = openpyxl.Workbook()
    for row in (["Item", None, "Q1", "Q2"], ["Pump", None, None, 4], [None, None, 3], ["Valve", None, 1, 2]):
        book.active.append(row)
    assert parsed(tmp_path, book).blocks[1].text == "Item | Q1 | Q2\nPump |  | 4\n | 3\nValve | 1 | 2"


def test_each_sheet_has_columns_of_its_own(tmp_path):
    book = openpyxl.Workbook()
    book.active["A1"], book.active["C1"] = "a", "c"
    book.create_sheet("Two")["B1"] = "b"
    assert [block.text for block in parsed(tmp_path, book).blocks] == ["Sheet", "a | c", "Two", "b"]


def test_what_is_hidden_is_read_and_hidden_sheets_are_named(tmp_path):
    book = openpyxl.Workbook()
    book.active.append(["Id", "Rate"])
    book.active.append([1, 7])
    book.active.row_dimensions[2].hidden = True
    book.active.column_dimensions["B"].hidden = True
    for name, state in (("Rates", "hidden"), ("Keys", "veryHidden")):
        sheet = book.create_sheet(name)
        sheet["A1"], sheet.sheet_state = f"on {name}", state
    result = parsed(tmp_path, book)
    assert [block.text for block in result.blocks[1::2]] == ["Id | Rate\n1 | 7", "on Rates", "on Keys"]
    assert result.warnings == ("costs.xlsx has hidden sheets, which were read too: Rates, Keys.",)


def test_comments_are_left_out_with_a_warning(tmp_path):
    book = openpyxl.Workbook()
    book.active["A1"] = 7
    book.active["A1"].comment = Comment("a guess", "Jo")
    result = parsed(tmp_path, book)
    assert [block.text for block in result.blocks] == ["Sheet", "7"]
    assert result.warnings == ("costs.xlsx has comments, which were left out.",)


@pytest.mark.parametrize(
    "cells", [{"A1": "x" * 60, "A2": "y" * 60}, {f"{c}{i}": "z" for i, c in enumerate("ABCDEF" * 5, 1)}]
)
def test_a_sheet_over_the_limit_of_characters_is_refused(tmp_path, cells):
    book = openpyxl.Workbook()
    for place, text in cells.items():
        book.active[place] = text
    with pytest.raises(DocumentTooLarge, match=r"^costs\.xlsx holds more than 100 characters\. Split the file\.$"):
        parsed(tmp_path, book, characters=100)
