"""Owns what may follow the ? of an address: a parameter that nothing takes, or that comes twice, is refused."""

from collections import Counter

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute


def refuse_other_parameters(request: Request) -> None:
    """Raises RequestValidationError for a query parameter that the request's route does not name, or that comes twice.

    FastAPI passes over such: a list that was asked for with a misspelt `state`, or with a filter that it does not have,
    would be another list than the caller thinks.
    """
    route = request.scope.get("route")
    if not request.scope["query_string"] or not isinstance(route, APIRoute):
        return
    known = [field.alias for field in route.dependant.query_params]  # no dependency here takes any
    there_are = f"there are {', '.join(known)}" if known else "there are none here"
    for name, times in Counter(name for name, _ in request.query_params.multi_items()).items():
        said = f"is no parameter; {there_are}" if name not in known else "comes more than once: which one is meant?"
        if name not in known or times > 1:
            raise RequestValidationError([{"loc": ("query", name), "msg": said, "type": "extra"}])
