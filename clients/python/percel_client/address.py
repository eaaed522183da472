"""Owns where Percel is and who asks: the base address and the headers of every request."""

from importlib.metadata import version

import httpx


def checked(base_url: str) -> str:
    """The address, if it is one. A path in it is kept: Percel may stand behind a prefix."""
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"{base_url!r} is not the address of a server; one looks like 'http://127.0.0.1:8080'.")
    return base_url


def headers(api_key: str | None) -> dict[str, str]:
    """What every request says."""
    agent = {"User-Agent": f"percel-client/{version('percel-client')}"}
    return agent if api_key is None else {**agent, "Authorization": f"Bearer {api_key}"}
