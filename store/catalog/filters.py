"""Owns filters over metadata: which documents a search, an answer or a delete is about.

A filter is an object of field -> condition. A condition is a value (equal), a list (one of them), or an object of
operators: `gt, gte, lt, lte, ne, in, exists`. All must hold. A field is a key of the document's metadata, or
`external_id`, `title` or `media_type` after an @: `{"@title": "report.pdf"}`.
"""

import operator
from collections.abc import Mapping

from sqlalchemy import ColumnElement, SQLColumnExpression, and_, false, or_, select
from sqlalchemy.orm import Session

from store.errors import BadFilter
from store.models import Document, DocumentState

_COLUMNS = {"@external_id": Document.external_id, "@title": Document.title, "@media_type": Document.media_type}
_ORDER = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}
_MAX_FIELDS = 32


def documents_where(
    session: Session, collection_id: str, where: Mapping[str, object], *, ready: bool = True
) -> frozenset[str]:
    """Ids of the collection's documents that meet the filter; with `ready` only those that readers see.

    Raises BadFilter for what is not a filter.
    """
    if len(where) > _MAX_FIELDS:
        raise BadFilter(f"it has more than {_MAX_FIELDS} fields")
    query = select(Document.id).where(Document.collection_id == collection_id)
    if ready:
        query = query.where(Document.state == DocumentState.READY)
    for field, condition in where.items():
        query = query.where(_condition(field, condition))
    return frozenset(session.scalars(query))


def _condition(field: str, condition: object) -> ColumnElement[bool]:
    if field.startswith("@") and field not in _COLUMNS:
        raise BadFilter(f"{field} is not a field; there are {', '.join(_COLUMNS)}, and the keys of metadata")
    if isinstance(condition, Mapping):
        if not condition:
            raise BadFilter(f"the condition of {field} is empty")
        return and_(*(_operator(field, str(name), operand) for name, operand in condition.items()))
    if isinstance(condition, list):
        return _operator(field, "in", condition)
    return _equal(field, condition)


def _operator(field: str, name: str, operand: object) -> ColumnElement[bool]:
    if name in _ORDER:
        if isinstance(operand, bool) or not isinstance(operand, int | float | str):
            raise BadFilter(f"{field}: {name} takes a number or a string")
        ordered: ColumnElement[bool] = _ORDER[name](_as(field, operand), operand)
        return ordered
    if name == "ne":
        return ~_known(field) | ~_equal(field, operand)
    if name == "in":
        if not isinstance(operand, list):
            raise BadFilter(f"{field}: in takes a list")
        return or_(false(), *(_equal(field, item) for item in operand))
    if name == "exists":
        if not isinstance(operand, bool):
            raise BadFilter(f"{field}: exists takes true or false")
        return _known(field) if operand else ~_known(field)
    raise BadFilter(f"{field}: {name} is not an operator; there are {', '.join([*_ORDER, 'ne', 'in', 'exists'])}")


def _known(field: str) -> ColumnElement[bool]:
    if field in _COLUMNS:
        return _COLUMNS[field].is_not(None)
    known: ColumnElement[bool] = Document.document_metadata[field].as_string().is_not(None)
    return known


def _equal(field: str, value: object) -> ColumnElement[bool]:
    if value is None:
        return ~_known(field)
    if not isinstance(value, bool | int | float | str):
        raise BadFilter(f"{field}: a value is a string, a number, true, false or null")
    return operator.eq(_as(field, value), value)  # type: ignore[no-any-return]


def _as(field: str, value: object) -> SQLColumnExpression[object]:
    """The field as the type of the value it is compared with; of another type, it is not equal to it."""
    if field in _COLUMNS:
        if not isinstance(value, str):
            raise BadFilter(f"{field} is a string")
        return _COLUMNS[field]
    entry = Document.document_metadata[field]
    typed: SQLColumnExpression[object]
    if isinstance(value, bool):
        typed = entry.as_boolean()
    else:
        typed = entry.as_string() if isinstance(value, str) else entry.as_float()
    return typed
