"""Owns what may follow the ? of an address: a parameter that nothing takes, or that comes twice, is refused."""

from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute


class StrictRoute(APIRoute):
    """A route that takes the query parameters that it names, and each once.

    FastAPI passes over the others: a list that was asked for with a misspelt `state`, or with a filter that it does not
    have, would be another list than the caller thinks.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What answers a request."""
        answer = super().get_route_handler()
        known = [field.alias for field in self.dependant.query_params]  # no dependency here takes any

        async def answer_strictly(request: Request) -> Response:
            if request.scope["query_string"]:
                refuse_other(request, known)
            return await answer(request)

        return answer_strictly


def refuse_other(request: Request, known: list[str]) -> None:
    """Raises RequestValidationError for a query parameter that is not one of these, or comes twice."""
    there_are = f"there are {', '.join(known)}" if known else "there are none here"
    for name, times in Counter(name for name, _ in request.query_params.multi_items()).items():
        said = f"is no parameter; {there_are}" if name not in known else "comes more than once: which one is meant?"
        if name not in known or times > 1:
            raise RequestValidationError([{"loc": ("query", name), "msg": said, "type": "extra"}])
