"""Owns the store's errors. Every message names the thing and says what to do.

StoreError
├── NotFound                     no such collection, document, chunk or job (for this tenant)
├── InvalidTenant                not a name that a tenant can have
├── BadFilter                    not a filter over metadata
├── LeaseLost                    the job is no longer this worker's: it expired, ended or its document was deleted
├── BlobError
│   ├── InvalidKey               not a key that this store makes
│   ├── BlobMissing              a key without bytes
│   ├── BlobDamaged              the bytes are not the ones that were stored
│   └── BlobTooLarge             over the cap that the caller gave
├── InvalidBlobUrl               not an address of blobs
├── BlobStoreUnusable            the store of blobs refuses: no such bucket, no credentials, no right
│   └── BlobStoreDown            it does not answer now; it may in a while
├── StoreFull                    no space (or quota) left where something had to be written
├── DatabaseUnusable             not a database, or an address that is none
│   ├── DatabaseUnreachable      the server does not answer, or ended the connection: trying again may help
│   ├── DatabaseBusy             another process writes to it for longer than this one waits
│   └── DatabaseReadOnly         the file, or its folder, cannot be written
├── VectorsUnusable              PERCEL_VECTORS names what this database cannot do
├── SchemaError
│   ├── SchemaOutdated           the database is older than this program: migrate it
│   └── SchemaTooNew             the database is newer than this program: upgrade the program
└── BackupError
    ├── BackupExists             there is a file of that name already
    ├── BackupDamaged            not a backup, not all of one, or not as it was written
    ├── BackupTooNew             in a format that this program does not know
    └── StoreNotEmpty            a backup would go over what is there
"""

import errno

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})  # disk, quota, or the process's file size limit


class StoreError(Exception):
    """Root of what the store raises on purpose."""


class NotFound(StoreError):
    """No such collection, document, chunk or job (for this tenant)."""

    def __init__(self, kind: str, name: str, hint: str = "") -> None:
        super().__init__(f"There is no {kind} {name!r}." + (f" {hint}" if hint else ""))
        self.kind = kind
        self.name = name


class InvalidTenant(StoreError):
    """Not a name that a tenant can have."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name!r} is no name for a tenant: take 1 to 63 small letters, digits and hyphens, no hyphen first."
        )
        self.name = name


class BadFilter(StoreError):
    """Not a filter over metadata."""

    def __init__(self, reason: str) -> None:
        super().__init__(f'This is not a filter: {reason}. One looks like {{"year": {{"gte": 2020}}, "kind": "memo"}}.')


class LeaseLost(StoreError):
    """The job is no longer this worker's: it expired, ended or its document was deleted. Drop the work."""

    def __init__(self, job_id: int, owner: str) -> None:
        super().__init__(f"Job {job_id} is no longer leased to {owner!r}: stop working on it and publish nothing.")
        self.job_id = job_id


class BlobError(StoreError):
    """A blob cannot be used."""


class InvalidKey(BlobError):
    """Not a key that this store makes."""

    def __init__(self, key: str) -> None:
        super().__init__(f"{key!r} is not a blob key. Keys are made by the store only: '<tenant>/ab/cd/<sha256>'.")
        self.key = key


class BlobMissing(BlobError):
    """A key without bytes."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"Blob {key} is missing. Restore it from a backup, or delete its document and ingest it again."
        )
        self.key = key


class BlobDamaged(BlobError):
    """The bytes are not the ones that were stored."""

    def __init__(self, key: str, detail: str) -> None:
        super().__init__(
            f"Blob {key} is damaged ({detail}). Restore it from a backup, or delete its document and ingest it again."
        )
        self.key = key


class BlobTooLarge(BlobError):
    """Over the cap that the caller gave."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"More than {limit:,} bytes: over the size limit. Split the file or raise the limit.")
        self.limit = limit


class InvalidBlobUrl(StoreError):
    """Not an address of blobs. The address is not repeated: it may hold a password."""

    def __init__(self, fault: str) -> None:
        super().__init__(
            f"the address of blobs {fault}: give file:///path or s3://bucket/prefix?endpoint_url=...&region=..., "
            "or nothing for the directory in PERCEL_HOME"
        )


class BlobStoreUnusable(StoreError):
    """The store of blobs refuses: no such bucket, no credentials, no right. No document's fault."""

    def __init__(self, place: str, reason: object) -> None:
        super().__init__(
            f"{place} cannot be used: {str(reason).rstrip('.')}. Check PERCEL_BLOB_URL and the AWS credentials."
        )
        self.place = place


class BlobStoreDown(BlobStoreUnusable):
    """The store of blobs does not answer now; trying again later may help. No document's fault."""

    def __init__(self, place: str, reason: object) -> None:
        StoreError.__init__(self, f"{place} does not answer: {str(reason).rstrip('.')}; try again in a while.")
        self.place = place


class StoreFull(StoreError):
    """No space (or quota) left where something had to be written. Nothing was changed."""

    def __init__(self, place: str, needed: int | None, free: int | None = None) -> None:
        need = "" if needed is None else f": {needed:,} bytes are needed"
        have = "" if free is None else f", {free:,} are free" if need else f": {free:,} bytes are free"
        super().__init__(f"No space left at {place}{need}{have}. Free space there, then run the same again.")
        self.place = place
        self.needed = needed


class DatabaseUnusable(StoreError):
    """Not a database, or an address that is none."""

    remedy = "Restore it from a backup or name another one."

    def __init__(self, place: str, reason: object) -> None:
        said = " ".join(str(reason).split()).rstrip(".")
        super().__init__(f"The database {place} cannot be used: {said}. {self.remedy}")


class DatabaseUnreachable(DatabaseUnusable):
    """The server does not answer, or ended the connection: trying again may help."""

    remedy = "Start its server or correct PERCEL_DATABASE_URL, then run the same again."


class DatabaseBusy(DatabaseUnusable):
    """Another process writes to it for longer than this one waits."""

    remedy = "Another process is writing to it, a restore say: run the same again when that is through."


class DatabaseReadOnly(DatabaseUnusable):
    """The file, or its folder, cannot be written."""

    remedy = "Reading it writes beside it, too: run as the user whose it is, with file and folder writable."


class VectorsUnusable(StoreError):
    """PERCEL_VECTORS names what this database cannot do."""

    def __init__(self, place: str, reason: object, remedy: str) -> None:
        said = " ".join(str(reason).split()).rstrip(".")
        super().__init__(f"PERCEL_VECTORS=pgvector cannot be used with the database {place}: {said}. {remedy}")


class SchemaError(StoreError):
    """The database and this program do not fit together."""


class SchemaOutdated(SchemaError):
    """The database is older than this program: migrate it."""

    def __init__(self, found: str | None, wanted: str) -> None:
        super().__init__(
            f"The database is at revision {found or 'none'}, this program needs {wanted}: migrate the database first."
        )


class SchemaTooNew(SchemaError):
    """The database is newer than this program: upgrade the program."""

    def __init__(self, found: str, wanted: str) -> None:
        super().__init__(
            f"The database is at revision {found}, which this program (at {wanted}) does not know: "
            "it was written by a newer one. Upgrade this program, or use another database."
        )


class BackupError(StoreError):
    """A backup cannot be written or put back."""


class BackupExists(BackupError):
    """There is a file of that name already."""

    def __init__(self, path: str) -> None:
        super().__init__(f"There is a file {path} already: name another one, or take that one away.")


class BackupDamaged(BackupError):
    """Not a backup, not all of one, or not as it was written. Nothing was changed."""

    def __init__(self, path: str, detail: str) -> None:
        super().__init__(f"The backup {path} is damaged: {detail}. Nothing was restored; use another copy of it.")


class BackupTooNew(BackupError):
    """In a format that this program does not know. Nothing was changed."""

    def __init__(self, path: str, found: str, program: str) -> None:
        super().__init__(
            f"The backup {path} has the format {found}, written by Percel {program}, which this program does not know. "
            "Nothing was restored: upgrade this program."
        )


class StoreNotEmpty(BackupError):
    """A backup would go over what is there. Nothing was changed."""

    def __init__(self, tables: list[str]) -> None:
        super().__init__(
            f"The store is not empty: there are rows in {', '.join(tables)}. Restore into an empty one, or replace "
            "everything that is there with --replace."
        )
