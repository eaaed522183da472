"""Owns the route that Prometheus reads. It is about all tenants, so no tenant's key opens it."""

from secrets import compare_digest
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.security import HTTPAuthorizationCredentials

from api.access import Opened, bearer, is_private
from api.errors import AccessDenied
from workers.metrics import CONTENT_TYPE, render

router = APIRouter(tags=["health"])


@router.get("/metrics", summary="Metrics in Prometheus' text format", response_class=Response)
def metrics(
    request: Request,
    resources: Opened,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> Response:
    """With PERCEL_METRICS_TOKEN set, who sends it as a bearer token; without, this machine until there are keys."""
    token = resources.settings.metrics_token
    if token:
        if credentials is None or not compare_digest(credentials.credentials.encode(), token.encode()):
            raise AccessDenied("Metrics are about all tenants: send PERCEL_METRICS_TOKEN as the bearer token.")
    elif not is_private(request, resources):
        raise AccessDenied("Metrics are about all tenants: set PERCEL_METRICS_TOKEN and send it as the bearer token.")
    return Response(render(request.app.state.registry), media_type=CONTENT_TYPE)
