"""Owns the web page at `/` and the files that it is made of: no build step, nothing loaded from elsewhere."""

from pathlib import Path

from fastapi import APIRouter, HTTPException
from fastapi.responses import FileResponse

router = APIRouter(include_in_schema=False)

WEB = Path(__file__).parents[1] / "web"
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
# Only scripts and styles of these files are run, none that stands in a document or in the page itself; images of
# documents come as blobs, since they need the key.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # a new version's page must not run with an old version's script
}


@router.get("/")
def page() -> FileResponse:
    """Upload, ask, and see where each quote stands."""
    return FileResponse(WEB / "index.html", media_type="text/html", headers=HEADERS)


@router.get("/web/{file}")
def part(file: str) -> FileResponse:
    """A style, a script or a picture of the page."""
    known = {path.name: path for path in WEB.iterdir() if path.suffix in TYPES}
    if file not in known:
        raise HTTPException(404, f"The page has no file {file!r}.")
    return FileResponse(known[file], media_type=TYPES[known[file].suffix], headers=HEADERS)
