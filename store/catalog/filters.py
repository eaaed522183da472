"""Owns filters over metadata: which documents a search, an answer or a delete is about.

A filter is an object of field -> condition. A condition is a value (equal), a list (one of them), or an object of
operators: `gt, gte, lt, lte, ne, in, exists`. All must hold. A field is a key of the document's metadata, or
`external_id`, `title` or `media_type` after an @: `{"@title": "report.pdf"}`.
"""

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, ScalarSelect, SQLColumnExpression, and_, case, false, func, not_, or_, select
from sqlalchemy.orm import Session

from store.errors import BadFilter
from store.models import Document, DocumentState

_COLUMNS = {"@external_id": Document.external_id, "@title": Document.title, "@media_type": Document.media_type}
_ORDER = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}
_MAX_FIELDS = 32
_MAX_VALUES = 10_000  # in the lists of a filter: databases take so many parameters, PostgreSQL 65,535


def documents_where(
    session: Session, collection_id: str, where: Mapping[str, object], *, ready: bool = True
) -> frozenset[str]:
    """Ids of the collection's documents that meet the filter; with `ready` only those that readers see.

    Raises BadFilter for what is not a filter.
    """
    if len(where) > _MAX_FIELDS:
        raise BadFilter(f"it has more than {_MAX_FIELDS} fields")
    if _listed(where) > _MAX_VALUES:
        raise BadFilter(f"its lists hold more than {_MAX_VALUES:,} values")
    query = select(Document.id).where(Document.collection_id == collection_id)
    if ready:
        query = query.where(Document.state == DocumentState.READY)
    fields = _Fields(session.get_bind().dialect.name)
    for field, condition in where.items():
        query = query.where(fields.condition(field, condition))
    return frozenset(session.scalars(query))


def _listed(condition: object) -> int:
    """How many values the lists of a filter hold."""
    if isinstance(condition, Mapping):
        return sum(map(_listed, condition.values()))
    return len(condition) if isinstance(condition, list) else 0


@dataclass(frozen=True, slots=True)
class _Fields:
    """Conditions on fields in one database's JSON. A value of another type than the asked one never fits."""

    dialect: str

    def condition(self, field: str, condition: object) -> ColumnElement[bool]:
        if field.startswith("@") and field not in _COLUMNS:
            raise BadFilter(f"{field} is not a field; there are {', '.join(_COLUMNS)}, and the keys of metadata")
        if isinstance(condition, Mapping):
            if not condition:
                raise BadFilter(f"the condition of {field} is empty")
            return and_(*(self.operator(field, str(name), operand) for name, operand in condition.items()))
        if isinstance(condition, list):
            return self.operator(field, "in", condition)
        return self.equal(field, condition)

    def operator(self, field: str, name: str, operand: object) -> ColumnElement[bool]:
        if name in _ORDER:
            if isinstance(operand, bool) or not isinstance(operand, int | float | str):
                raise BadFilter(f"{field}: {name} takes a number or a string")
            ordered: ColumnElement[bool] = _ORDER[name](self.typed(field, operand), operand)
            return ordered
        if name == "ne":
            return not_(func.coalesce(self.equal(field, operand), false()))
        if name == "in":
            if not isinstance(operand, list):
                raise BadFilter(f"{field}: in takes a list")
            return self.one_of(field, operand)
        if name == "exists":
            if not isinstance(operand, bool):
                raise BadFilter(f"{field}: exists takes true or false")
            return self.known(field) if operand else not_(self.known(field))
        raise BadFilter(f"{field}: {name} is not an operator; there are {', '.join([*_ORDER, 'ne', 'in', 'exists'])}")

    def known(self, field: str) -> ColumnElement[bool]:
        if field in _COLUMNS:
            return _COLUMNS[field].is_not(None)
        return func.coalesce(self.kind(field), "null") != "null"

    def equal(self, field: str, value: object) -> ColumnElement[bool]:
        if value is None:
            return not_(self.known(field))
        if not isinstance(value, bool | int | float | str):
            raise BadFilter(f"{field}: a value is a string, a number, true, false or null")
        if isinstance(value, bool) and field not in _COLUMNS:
            if self.dialect == "sqlite":  # its types are true and false
                return self.kind(field) == str(value).lower()
            return self.typed(field, value) == str(value).lower()
        same: ColumnElement[bool] = operator.eq(self.typed(field, value), value)
        return same

    def one_of(self, field: str, values: list[object]) -> ColumnElement[bool]:
        """Any of the values. Texts and numbers are lists in SQL too: a condition each would be nested too deep."""
        texts = [value for value in values if isinstance(value, str)]
        numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
        others = [value for value in values if isinstance(value, bool) or not isinstance(value, int | float | str)]
        if self.dialect == "postgresql":  # which would take the rest for what the first is, and its numbers are floats
            numbers = [float(value) for value in numbers]
        lists = [self.typed(field, listed[0]).in_(listed) for listed in (texts, numbers) if listed]
        distinct = {repr(value): value for value in others}  # true, false, null, and what is no value
        return or_(false(), *lists, *(self.equal(field, value) for value in distinct.values()))

    def typed(self, field: str, value: object) -> SQLColumnExpression[object]:
        """The field's value where it has the type of what it is compared with, else null."""
        if field in _COLUMNS:
            if not isinstance(value, str):
                raise BadFilter(f"{field} is a string")
            return _COLUMNS[field]
        kinds = ("text", "string") if isinstance(value, str) else ("integer", "real", "number")
        if self.dialect == "sqlite":
            return _entry(field, "value", kinds)  # in one look: as conditions on two it takes twice as long
        entry = Document.document_metadata[field]
        if isinstance(value, bool):
            return case((self.kind(field) == "boolean", entry.as_string()))
        return case((self.kind(field).in_(kinds), entry.as_string() if isinstance(value, str) else entry.as_float()))

    def kind(self, field: str) -> ColumnElement[str]:
        """The name of the type of the field's value; null where there is none."""
        if self.dialect == "postgresql":
            return func.json_typeof(Document.document_metadata[field])
        return _entry(field, "type")


def _entry(field: str, what: str, kinds: tuple[str, ...] = ()) -> ScalarSelect[Any]:
    """The value of a field of SQLite's JSON, of some types only, or its type.

    A path would compare keys as they are escaped.
    """
    entries = func.json_each(Document.document_metadata).table_valued("key", "value", "type")
    query = select(entries.c[what]).where(entries.c.key == field)
    if kinds:
        query = query.where(entries.c.type.in_(kinds))
    return query.correlate(Document).scalar_subquery()
