"""Owns the routes of those who watch the service."""

from dataclasses import asdict

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from api.access import Opened
from api.health import check_all

router = APIRouter(tags=["health"])

NEEDED = ("database", "blobs", "codec", "embedder")  # without the others answers are given all the same

NOT_READY: dict[int | str, dict[str, object]] = {
    503: {"description": "The same, with what is missing", "content": {"application/json": {"schema": {}}}}
}


@router.get("/healthz", summary="Is the process alive?")
def alive() -> dict[str, str]:
    """Answers as long as the process does."""
    return {"status": "ok"}


@router.get("/readyz", summary="Can it work?", response_model=None, responses=NOT_READY)
def ready(resources: Opened) -> JSONResponse:
    """200 when questions can be answered, else 503; either way each check and what is missing."""
    checks = check_all(resources)
    ok = all(check.ok for check in checks if check.name in NEEDED)
    body = {"ready": ok, "missing": [c.name for c in checks if not c.ok], "checks": [asdict(check) for check in checks]}
    return JSONResponse(body, 200 if ok else 503)
