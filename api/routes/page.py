"""Owns the web page at `/`: one file, no build step, nothing loaded from elsewhere."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

router = APIRouter(include_in_schema=False)

PAGE = Path(__file__).parents[1] / "web" / "index.html"
# Only what the file itself carries runs; images come from this server (as blobs, since they need the key).
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src blob:"


@router.get("/")
def page() -> FileResponse:
    """Upload, ask, and see where each quote stands."""
    headers = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
    return FileResponse(PAGE, media_type="text/html", headers=headers)
