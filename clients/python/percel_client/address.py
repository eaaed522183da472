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
    """What every request says. Raises ValueError, which does not show the key, for one that no header can hold."""
    if api_key and not is_plain(api_key):
        raise ValueError("The API key has blanks or a line end around it, or holds signs that no key has: strip it.")
    agent = {"User-Agent": f"percel-client/{version('percel-client')}"}
    return agent if not api_key else {**agent, "Authorization": f"Bearer {api_key}"}


def is_plain(text: str) -> bool:
    """Whether a header can hold it as it is: printable ASCII without blanks around it."""
    return text.isascii() and text.isprintable() and text == text.strip() != ""
