"""Owns finding out what a file is: by its content first, by its name only between kinds of text."""

import codecs
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from compressor.errors import DamagedDocument, DocumentTooLarge, EmptyDocument, EncryptedDocument, UnsupportedFormat
from compressor.limits import Limits
from compressor.parse.source import display_name

PDF = "application/pdf"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
EPUB = "application/epub+zip"
HTML = "text/html"
PLAIN = "text/plain"
CODE = "text/x-source"
JSON = "application/json"
NOTEBOOK = "application/x-ipynb+json"
_BINARY = frozenset({PDF, DOCX, PPTX, XLSX, EPUB})

SUFFIXES: dict[str, str] = {
    ".pdf": PDF,
    ".docx": DOCX,
    ".docm": DOCX,
    ".pptx": PPTX,
    ".pptm": PPTX,
    ".xlsx": XLSX,
    ".xlsm": XLSX,
    ".epub": EPUB,
    ".html": HTML,
    ".htm": HTML,
    ".xhtml": HTML,
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".rst": "text/x-rst",
    ".rest": "text/x-rst",
    ".txt": PLAIN,
    ".text": PLAIN,
    ".log": PLAIN,
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".tab": "text/tab-separated-values",
    ".json": JSON,
    ".ipynb": NOTEBOOK,
    ".jsonl": "application/jsonl",
    ".ndjson": "application/jsonl",
    **dict.fromkeys(
        (  # noqa: SIM905  # as a list it would be a page long
            ".py .pyi .js .mjs .cjs .ts .tsx .jsx .java .kt .scala .c .h .cc .cpp .cxx .hpp .hh .cs .go .rs .rb .php "
            ".swift .m .mm .r .jl .lua .pl .pm .sh .bash .zsh .fish .ps1 .bat .sql .hs .ml .ex .exs .erl .clj .lisp "
            ".el .vim .dart .groovy .gradle .zig .nim .v .vhd .sv .asm .s .f90 .f .pas .proto .graphql .css .scss "
            ".less .vue .svelte .xml .xsd .xsl .svg .yaml .yml .toml .ini .cfg .conf .properties .tf .cmake .mk .tex "
            ".bib"
        ).split(),
        CODE,
    ),
}
CODE_NAMES = frozenset({"makefile", "dockerfile", "jenkinsfile", "cmakelists.txt", "gemfile", "rakefile"})

_OFFICE_PARTS: tuple[tuple[bytes, str], ...] = (
    (b"wordprocessingml.document.main+xml", DOCX),
    (b"ms-word.document.macroEnabled.main+xml", DOCX),
    (b"wordprocessingml.template.main+xml", DOCX),
    (b"presentationml.presentation.main+xml", PPTX),
    (b"presentationml.slideshow.main+xml", PPTX),
    (b"ms-powerpoint.presentation.macroEnabled.main+xml", PPTX),
    (b"spreadsheetml.sheet.main+xml", XLSX),
    (b"ms-excel.sheet.macroEnabled.main+xml", XLSX),
)
_HEAD = 65_536  # bytes looked at
_ODD_BYTES = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_HTML_START = re.compile(
    rb"^\s*(<\?xml[^>]*>\s*)?(<!--(?:(?!-->).)*-->\s*)*+<(!doctype\s+html|html\b|head\b|body\b)", re.I | re.S
)


@dataclass(frozen=True, slots=True)
class Detected:
    """What a file is; `warning` says so when its name says something else."""

    media_type: str
    warning: str | None = None


def detect(path: Path, *, name: str, limits: Limits) -> Detected:
    """Look at the file's bytes, then at its name.

    Raises EmptyDocument, DocumentTooLarge, UnsupportedFormat, EncryptedDocument or DamagedDocument.
    """
    label = display_name(name)
    size = path.stat().st_size
    if size == 0:
        raise EmptyDocument(f"{label} is empty: it has no bytes.")
    if size > limits.bytes:
        raise DocumentTooLarge(f"{label} has {size:,} bytes, the limit is {limits.bytes:,}. Split the file.")
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
    named = media_type_of_name(name)
    found = None if _tells_of_pdf(head, named) else _container(path, head, label=label, limits=limits)
    if found is None:
        if not looks_like_text(head):
            raise UnsupportedFormat(_lie(label, _binary_kind(head)))
        found = _text_kind(head, named)
    if named is None or named == found:
        return Detected(found)
    return Detected(
        found, f"{label} is named like {_word(named)} but holds {_word(found)}; it was read as {_word(found)}."
    )


def media_type_of_name(name: str) -> str | None:
    """What the end of a file name promises, None when it promises nothing we know."""
    last = PurePosixPath(name.replace("\\", "/").replace("\0", "")).name.lower()
    return CODE if last in CODE_NAMES else SUFFIXES.get(PurePosixPath(last).suffix)


def looks_like_text(head: bytes) -> bool:
    """Whether bytes can be text in any encoding; random bytes hold about 10 % of controls that text does not."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)) or utf16_without_bom(head):
        return True
    if head.startswith((b"MZ", b"\x7fELF", b"\x89PNG", b"\xff\xd8\xff", b"GIF8")) and b"\x00" in head:
        return False
    return len(_ODD_BYTES.findall(head)) <= 0.05 * len(head)


def utf16_without_bom(head: bytes) -> str | None:
    """The codec name of text in UTF-16 that lacks its mark: nearly every second byte is NUL, the others never."""
    half = len(head) // 2
    if half < 8:
        return None
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if odd > 0.7 * half and even < 0.01 * half + 1:
        return "utf-16-le"
    if even > 0.7 * half and odd < 0.01 * half + 1:
        return "utf-16-be"
    return None


def _tells_of_pdf(head: bytes, named: str | None) -> bool:
    """Whether a text has a PDF's mark in its first lines; a PDF may have other bytes before that mark."""
    text = named is not None and named not in _BINARY and looks_like_text(head)
    return text and b"%PDF-" in head[:1024] and not head.startswith(b"%PDF-")


def _container(path: Path, head: bytes, *, label: str, limits: Limits) -> str | None:
    if b"%PDF-" in head[:1024]:
        return PDF
    if head.startswith(b"PK\x03\x04"):
        return _zip_kind(path, label=label, limits=limits)
    if head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        if "EncryptedPackage".encode("utf-16-le") in path.read_bytes():
            raise EncryptedDocument(f"{label} needs a password. Save it without one and ingest it again.")
        raise UnsupportedFormat(_lie(label, "an Office 97-2003 file") + " Save it as .docx, .pptx or .xlsx.")
    return None


def _zip_kind(path: Path, *, label: str, limits: Limits) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            _check_unpacked(archive, label=label, limits=limits)
            names = set(archive.namelist())
            if "mimetype" in names:
                mimetype = archive.read("mimetype")[:100].decode("ascii", "replace").strip()
                if mimetype == EPUB:
                    return EPUB
                raise UnsupportedFormat(_lie(label, f"a file of type {mimetype}"))
            if "[Content_Types].xml" in names:
                types = archive.read("[Content_Types].xml")
                for part, media_type in _OFFICE_PARTS:
                    if part in types:
                        return media_type
            if "META-INF/container.xml" in names:
                return EPUB
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise DamagedDocument(f"{label} is a damaged or truncated zip container: {error}. Save it again.") from error
    raise UnsupportedFormat(_lie(label, "a zip archive") + " Unpack it and ingest the files.")


def _check_unpacked(archive: zipfile.ZipFile, *, label: str, limits: Limits) -> None:
    """zipfile never reads past a member's declared size, so the declared sizes bind."""
    unpacked = sum(member.file_size for member in archive.infolist())
    packed = max(sum(member.compress_size for member in archive.infolist()), 1)
    if unpacked > limits.unpacked_bytes:
        raise DocumentTooLarge(f"{label} unpacks to {unpacked:,} bytes, the limit is {limits.unpacked_bytes:,}.")
    if unpacked > limits.unpacked_ratio_floor and unpacked > packed * limits.unpacked_ratio:
        raise DocumentTooLarge(
            f"{label} unpacks to {unpacked // packed} times its size ({unpacked:,} bytes), "
            f"the limit is {limits.unpacked_ratio} times: it looks like a decompression bomb."
        )


def _text_kind(head: bytes, named: str | None) -> str:
    if named is not None and named not in _BINARY:
        return named
    if _HTML_START.match(head.lstrip(b"\xef\xbb\xbf")):
        return HTML
    return PLAIN


def _binary_kind(head: bytes) -> str:
    import puremagic  # only for the words of an error message

    try:
        found = puremagic.magic_string(head)
    except (puremagic.PureError, ValueError):
        found = []
    return f"binary data ({found[0].name})" if found and found[0].name else "binary data of an unknown kind"


def _lie(label: str, found: str) -> str:
    named = media_type_of_name(label)
    promise = f"is named like {_word(named)} but holds" if named else "holds"
    return f"{label} {promise} {found}, which cannot be read."


def _word(media_type: str) -> str:
    return {
        PDF: "a PDF",
        DOCX: "a Word document",
        PPTX: "a presentation",
        XLSX: "a spreadsheet",
        EPUB: "an EPUB",
        HTML: "HTML",
        PLAIN: "plain text",
        CODE: "source code",
        JSON: "JSON",
        NOTEBOOK: "a notebook",
        "text/markdown": "Markdown",
        "text/x-rst": "reStructuredText",
        "text/csv": "CSV",
        "text/tab-separated-values": "TSV",
        "application/jsonl": "JSON lines",
    }[media_type]
