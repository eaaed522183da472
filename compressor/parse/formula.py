"""Owns formulas: MathML on one line, as people type it: x^2, a_1, (a+b)/c, √(2)."""

from collections.abc import Callable

from lxml import etree

_SILENT = frozenset({"annotation", "annotation-xml", "none", "mprescripts", "mphantom", "maligngroup", "malignmark"})


def formula(element: etree._Element) -> str:
    """The text of an element of MathML; what it is made of twice, as TeX or by meaning, is left out."""
    tag = etree.QName(element).localname.lower() if isinstance(element.tag, str) else ""
    if not tag or tag in _SILENT:
        return ""
    parts = [formula(child).strip() if tag in _FORMS else formula(child) for child in element]
    form, count = _FORMS.get(tag, ("".join, None))
    if parts:
        return form(parts) if count in (None, len(parts)) else " ".join(parts)
    text = " ".join((element.text or "").split())
    return f" {text} " if tag == "mspace" or (tag in ("mi", "mtext") and len(text) > 1) else text


def _one(text: str) -> str:
    """In brackets where it could be taken for more than one thing."""
    return text if len(text) == 1 or text.isalnum() or (text[:1], text[-1:]) == ("(", ")") else f"({text})"


def _above(parts: list[str]) -> str:
    return f"{_one(parts[0])}^{_one(parts[1])}"


def _below(parts: list[str]) -> str:
    return f"{_one(parts[0])}_{_one(parts[1])}"


def _below_and_above(parts: list[str]) -> str:
    return f"{_below(parts)}^{_one(parts[2])}"


# An element -> how its parts are put together, and how many there must be.
_FORMS: dict[str, tuple[Callable[[list[str]], str], int | None]] = {
    "mfrac": (lambda parts: f"{_one(parts[0])}/{_one(parts[1])}", 2),
    "msup": (_above, 2),
    "mover": (_above, 2),
    "msub": (_below, 2),
    "munder": (_below, 2),
    "msubsup": (_below_and_above, 3),
    "munderover": (_below_and_above, 3),
    "msqrt": (lambda parts: f"√({''.join(parts)})", None),
    "mroot": (lambda parts: f"{_one(parts[1])}√({parts[0]})", 2),
    "mfenced": (lambda parts: f"({', '.join(parts)})", None),
    "mtable": (lambda rows: f"[{'; '.join(rows)}]", None),
    "mtr": (", ".join, None),
}
