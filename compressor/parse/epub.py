"""Owns EPUB: the reading order of its spine; every spine item is a source page."""

import posixpath
import zipfile
from collections.abc import Iterator
from urllib.parse import unquote

from lxml import etree

from compressor.errors import DamagedDocument, DocumentTooLarge, EncryptedDocument
from compressor.parse.decode import decode, html_charset
from compressor.parse.html import html_blocks, html_root
from compressor.parse.source import SourceFile, listed, one_line
from compressor.types import Block, ParsedDocument

_FONT_OBFUSCATION = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")


def parse_epub(source: SourceFile) -> ParsedDocument:
    """Raises EncryptedDocument for books under DRM, DamagedDocument when the package cannot be read."""
    try:
        with zipfile.ZipFile(source.path) as archive:
            return _parse(archive, source)
    except (zipfile.BadZipFile, etree.XMLSyntaxError, KeyError, EOFError, RuntimeError) as error:
        raise DamagedDocument(f"{source.label} is a damaged EPUB: {error}. Download it again.") from error


def _parse(archive: zipfile.ZipFile, source: SourceFile) -> ParsedDocument:
    names = set(archive.namelist())
    if _has_drm(archive, names):
        raise EncryptedDocument(f"{source.label} is protected by DRM. Ingest a copy without it.")
    container = _xml(archive, "META-INF/container.xml")
    package = str(container.xpath("string(//*[local-name()='rootfile']/@full-path)"))
    opf = _xml(archive, package)
    title = one_line(str(opf.xpath("string(//*[local-name()='metadata']/*[local-name()='title'])")))
    spine = list(dict.fromkeys(_spine(opf, package)))  # each part once: a small file must not be a long book
    items = [name for name in spine if name in names]
    if len(items) > source.limits.pages:
        raise DocumentTooLarge(f"{source.label} has {len(items):,} parts, the limit is {source.limits.pages:,} pages.")
    blocks: list[Block] = []
    warnings = [f"{source.label} lacks {listed(lacking)}."] if (lacking := [n for n in spine if n not in names]) else []
    for page, item in enumerate(items, 1):
        data = archive.read(item)
        decoded = decode(data, label=f"{source.label}, {item}", declared=html_charset(data))
        warnings.extend(decoded.warnings)
        root = html_root(decoded.text)
        if root is not None:
            blocks.extend(html_blocks(root, total=decoded.text.count("\n") + 1, page=page))
    return ParsedDocument(source.media_type, title or None, len(items), tuple(blocks), tuple(warnings))


def _spine(opf: etree._Element, package: str) -> Iterator[str]:
    """Member names in reading order."""
    folder = posixpath.dirname(package)
    hrefs = {item.get("id"): item.get("href") for item in opf.iterfind(".//{*}manifest/{*}item")}
    for reference in opf.iterfind(".//{*}spine/{*}itemref"):
        href = hrefs.get(reference.get("idref"))
        if href:
            yield posixpath.normpath(posixpath.join(folder, unquote(href.partition("#")[0])))


def _has_drm(archive: zipfile.ZipFile, names: set[str]) -> bool:
    """Obfuscated fonts are listed as encrypted too and do not matter."""
    if "META-INF/encryption.xml" not in names:
        return False
    algorithms = _xml(archive, "META-INF/encryption.xml").xpath("//*[local-name()='EncryptionMethod']/@Algorithm")
    return any(algorithm not in _FONT_OBFUSCATION for algorithm in algorithms)


def _xml(archive: zipfile.ZipFile, name: str) -> etree._Element:
    return etree.fromstring(archive.read(name), etree.XMLParser(resolve_entities=False, no_network=True))
