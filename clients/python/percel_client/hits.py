"""Owns how a hit looks to other frameworks: an id, a text, and flat metadata with the place in the source."""

from percel_client.models import Hit

# What a language model or an embedder has no use for; frameworks that show metadata to them leave these out.
PLACES = ("document_id", "chunk", "boxes", "score")


def hit_id(hit: Hit) -> str:
    """The same for the same chunk of the same document."""
    return f"{hit.document_id}/{hit.chunk}"


def hit_metadata(hit: Hit) -> dict[str, object]:
    """Where the hit is, on top of the document's own metadata."""
    return {
        **hit.metadata,
        "document_id": hit.document_id,
        "title": hit.title,
        "chunk": hit.chunk,
        "heading": hit.heading,
        "page": hit.page,
        "boxes": [{"x0": box.x0, "y0": box.y0, "x1": box.x1, "y1": box.y1} for box in hit.boxes],
        "score": hit.score,
    }
