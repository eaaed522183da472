"""Owns the settings: one frozen object, read from PERCEL_* once, at the root of a process."""

import logging
import os
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy import URL

from compressor.decoders.names import check_decoder, check_page_codec, check_sizes
from compressor.errors import ModelError
from compressor.vlm.recipefile import read_recipe
from store import tenants
from store.blobs import parse_address
from store.errors import InvalidBlobUrl
from workers.errors import SettingsError

log = logging.getLogger(__name__)

PREFIX = "PERCEL_"
# Of letters, that a name shares with what is meant. Some that are like it are others': PERCEL_API_KEY is the client's,
# and where a service is called percel, Kubernetes sets PERCEL_SERVICE_HOST.
_NEARLY = 0.8
LEAST_SCALE = 0.1  # of the sides of a page: a hundredth of its pixels


class Settings(BaseSettings):
    """Every field is PERCEL_<NAME>; a bad value stops the start with that name."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    home: Path = Field(
        default_factory=lambda: Path.home() / ".percel", description="where rows, blobs and indexes are kept"
    )
    tenant: str = Field("default", pattern=tenants.PATTERN, description="whose collections the command line works on")
    database_url: str = Field("", description="empty: SQLite in PERCEL_HOME")
    blob_url: str = Field("", description="empty: a directory in PERCEL_HOME; file:///path; s3://bucket/prefix")
    blob_cache_bytes: int = Field(10_000_000_000, gt=0, description="most that is kept here of blobs in a bucket")
    vectors: Literal["faiss", "pgvector"] = Field(
        "faiss", description="where nearest vectors are found: FAISS files of each node, or PostgreSQL with pgvector"
    )
    collection: str = Field("default", description="the collection that commands use unless told otherwise")
    broker_url: str = Field("", description="redis://...: workers elsewhere are woken through it; empty: none are")
    codec: Literal["auto", "native-10", "native-20", "native-40", "native-80"] = Field(
        "auto",
        description="the highest rate of new caches, auto: any; each chunk gets the highest within the two below",
    )
    least_accuracy: float = Field(
        0.99, ge=0, le=1, description="share of a chunk's characters that a rate must read right before the residual"
    )
    most_residual: float = Field(
        0.1, ge=0, description="bytes that correct a chunk at a rate, at most, as a share of its text's"
    )
    embedder: str = Field(
        "sentence-transformers/all-MiniLM-L6-v2", description="a sentence-transformers model: name or directory"
    )
    page_codecs: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="hf:<model>, ...: vision-language models that page caches are kept for, besides native caches"
    )
    page_scales: Annotated[tuple[float, ...], NoDecode] = Field(
        (), description="smaller sizes that pages are kept in besides the full one, as shares of its sides: 0.5, 0.25"
    )
    page_tokens: int = Field(
        0, ge=0, description="most vision tokens of pages for one question, in their sizes; 0: as many as there is room"
    )
    page_recipe: str = Field(
        "", description="a recipe file of `percel tune-render`: how text is set as pages; empty: the built-in recipe"
    )
    decoder: str = Field(
        "extractive",
        description="what answers questions: extractive, hf:<model>, openai:<url>#<model>, vllm:<url>#<model>",
    )
    openai_key: SecretStr = Field(SecretStr(""), description="bearer token that an openai: or vllm: decoder is sent")
    openai_sends: Literal["text", "images"] = Field(
        "text", description="what an openai: decoder is sent: the exact text of the chunks, or images of their pages"
    )
    openai_seconds: int = Field(
        120, gt=0, description="longest that an openai: or vllm: decoder may take for an answer"
    )
    vllm_sends: Literal["embeds", "names"] = Field(
        "embeds",
        description="what a vllm: decoder is sent of page caches: their numbers, or names under which it reads "
        "them out of this store itself (connectors/vllm)",
    )
    answer_tokens: int = Field(512, gt=0, description="longest answer that a model may write")
    attention: Literal["full", "block"] = Field(
        "full", description="how hf: decoders read pages: each seeing those before it, or alone (faster, approximate)"
    )
    kept_kv_bytes: int = Field(
        2_000_000_000, ge=0, description="most that is kept of keys and values of pages that were asked about; 0: none"
    )
    index_bytes: int = Field(
        4_000_000_000, gt=0, description="bytes of the indexes that a process keeps open; the unused are closed"
    )
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto, cpu, cuda or cuda:N")
    max_file_bytes: int = Field(100_000_000, gt=0, description="a larger file is refused")
    max_context_tokens: int = Field(1_000_000, gt=0, description="most vision tokens loaded for one question")
    max_source_pages: int = Field(5_000, gt=0, description="a document with more pages is refused")
    parse_seconds: int = Field(300, gt=0, description="longest time a parser may take for one file")
    parse_memory_bytes: int = Field(2_000_000_000, gt=0, description="most memory a parser may take")
    host: str = Field("127.0.0.1", description="the address that `percel serve` listens on")
    port: int = Field(8080, ge=0, le=65535, description="its port")
    api_processes: int = Field(1, ge=1, description="processes that answer there, each with its indexes and models")
    url_uploads: bool = Field(False, description="documents may be uploaded by naming a URL")
    requests_per_minute: int = Field(3000, ge=0, description="of a key that has no limit of its own; 0: no limit")
    bytes_per_day: int = Field(0, ge=0, description="of uploads of a key without a limit of its own; 0: no limit")
    allow_private_urls: bool = Field(False, description="webhooks and uploads by URL may go into private networks")
    metrics_token: str = Field(
        "", description="bearer token of /metrics; empty: this machine only, until there are keys"
    )
    log: Literal["", "json", "text"] = Field(
        "", description="form of log lines; empty: json for serve and worker, text for other commands and on a terminal"
    )
    log_level: Literal["", "debug", "info", "warning", "error"] = Field(
        "", description="least level that is logged; empty: info for serve and worker, warning for other commands"
    )
    max_attempts: int = Field(3, gt=0, description="times a job is tried before its document fails")
    lease_seconds: int = Field(20, gt=0, description="how long a job stays claimed without a sign of life")

    @field_validator("page_codecs", "page_scales", mode="before")
    @classmethod
    def _lists(cls, names: object) -> object:
        return tuple(name.strip() for name in names.split(",") if name.strip()) if isinstance(names, str) else names

    @field_validator("page_codecs")
    @classmethod
    def _are_codecs(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        try:
            for name in names:
                check_page_codec(name)
        except ModelError as error:
            raise ValueError(str(error)) from error
        return tuple(dict.fromkeys(names))

    @field_validator("page_scales")
    @classmethod
    def _are_smaller_sizes(cls, scales: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        wrong = [scale for scale in scales if not LEAST_SCALE <= scale < 1]
        if wrong:
            raise ValueError(
                f"a smaller size of pages is {LEAST_SCALE:g} or more of the full one and below 1, not {wrong[0]:g}"
            )
        try:
            if scales:
                check_sizes(info.data.get("page_codecs", ()))
        except ModelError as error:
            raise ValueError(str(error)) from error
        return tuple(sorted(set(scales), reverse=True))

    @field_validator("page_recipe")
    @classmethod
    def _is_a_recipe(cls, path: str) -> str:
        try:
            if path:
                read_recipe(Path(path))
        except ModelError as error:
            raise ValueError(str(error)) from error
        return path

    @field_validator("decoder")
    @classmethod
    def _is_a_decoder(cls, name: str) -> str:
        try:
            check_decoder(name)
        except ModelError as error:
            raise ValueError(str(error)) from error
        return name

    @field_validator("openai_key")
    @classmethod
    def _can_be_sent(cls, key: SecretStr) -> SecretStr:
        stripped = key.get_secret_value().strip()  # a file that a key is read from ends with a line end
        if not (stripped.isascii() and stripped.isprintable()) or " " in stripped:
            raise ValueError("a bearer token is printable ASCII without spaces")  # never the token itself
        return SecretStr(stripped)

    @field_validator("blob_url")
    @classmethod
    def _names_a_place(cls, url: str) -> str:
        try:
            if url:
                parse_address(url)
        except InvalidBlobUrl as error:
            raise ValueError(str(error)) from error
        return url

    @field_validator("vectors")
    @classmethod
    def _fits_the_database(cls, vectors: str, info: ValidationInfo) -> str:
        if vectors == "pgvector" and not str(info.data.get("database_url", "")).startswith("postgres"):
            raise ValueError("pgvector is an extension of PostgreSQL: set PERCEL_DATABASE_URL=postgresql://... as well")
        return vectors

    @property
    def database(self) -> str:
        """The SQLAlchemy URL in force."""
        if self.database_url:
            return self.database_url
        return URL.create("sqlite", database=str(self.home / "percel.db")).render_as_string(hide_password=False)


def load_settings(overrides: Mapping[str, str] | None = None) -> Settings:
    """Reads the environment; overrides come from the command line. Raises SettingsError that names each bad one.

    A variable that is nearly the name of a setting is warned of: nothing else would say that it has no effect.
    """
    for name, meant in misspelt(os.environ):
        log.warning("%s is no setting and has no effect: is %s meant?", name, meant)
    try:
        return Settings.model_validate({**Settings().model_dump(), **(overrides or {})})
    except ValidationError as error:
        faults = "; ".join(f"{PREFIX}{str(e['loc'][0]).upper()}: {_said(e['msg'])}" for e in error.errors())
        raise SettingsError(f"bad settings: {faults}") from error


def misspelt(names: Iterable[str]) -> list[tuple[str, str]]:
    """The names of variables that are no settings, each with that of the setting which is nearly the same."""
    known = [field.upper() for field in Settings.model_fields]
    fields = {name: name.upper().removeprefix(PREFIX) for name in names if name.upper().startswith(PREFIX)}
    return [
        (name, PREFIX + meant)
        for name, field in fields.items()
        if field not in known
        for meant in get_close_matches(field, known, 1, _NEARLY)
    ]


def _said(message: str) -> str:
    """Pydantic's message as part of a sentence."""
    own = message.removeprefix("Value error, ")
    return own[:1].lower() + own[1:]
