"""Owns blobs in an S3 bucket, of AWS or of any server that speaks its protocol."""

import base64
import hashlib
import io
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from botocore.exceptions import ClientError

from store.blobs.address import S3Address
from store.blobs.base import PARTIAL_AGE, ListedBlob, StoredBlob
from store.blobs.body import Answer, Replaced, answer_of, read_pieces
from store.blobs.copies import LocalCopies
from store.blobs.keys import blob_key, check_key, compare, is_key, key_digest
from store.blobs.partial import arriving, pieces_of, remove_old
from store.blobs.refusals import answering, code_of, status_of
from store.errors import BlobDamaged, BlobMissing, BlobStoreUnusable
from store.tenants import check_tenant

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_s3.type_defs import GetObjectRequestTypeDef, HeadObjectOutputTypeDef, ObjectIdentifierTypeDef

ATTEMPTS = 4  # of one request; with their pauses at most 7 s where the server answers with an error at once
_CONNECT_SECONDS = 5
_READ_SECONDS = 20  # without a byte
_PART = 16 << 20  # a larger blob is sent in parts of this size, so that a broken one does not start again
_DELETED = 1_000  # at once; S3 takes no more
_NOT_TOGETHER = (400, 405, 411, 501)  # answers to the wish to delete several
_REPLACED = "it was replaced while it was read"
_CONNECTIONS = 32  # at once; threads of one process share the client


class S3Blobs:
    """Blobs as objects; a key is the object's name below the address's prefix.

    The bucket must exist. Credentials come from where AWS programs look for them. What is wanted as a file is fetched
    into `copies`.
    """

    def __init__(self, address: S3Address, copies: LocalCopies, *, attempts: int = ATTEMPTS) -> None:
        self.address = address
        self.copies = copies
        self.place = f"S3 bucket {address.bucket}"
        self._attempts = attempts
        self._bucket_seen = False

    @cached_property
    def client(self) -> "S3Client":
        """The connection, made when it is first needed; safe for several threads."""
        import boto3
        from botocore.config import Config

        config = Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            max_pool_connections=_CONNECTIONS,
            retries={"mode": "standard", "total_max_attempts": self._attempts},
            # A server of one's own has rarely a name for every bucket.
            s3={"addressing_style": "path" if self.address.endpoint_url else "auto"},
            # Bytes are compared with their key's sha256 here; older servers know no other checksums.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        with answering(self.place):
            session = boto3.session.Session(region_name=self.address.region)
            client: S3Client = session.client("s3", endpoint_url=self.address.endpoint_url, config=config)
            return client

    def put_stream(self, stream: BinaryIO, *, tenant: str, limit: int | None = None) -> StoredBlob:
        return self._put(stream, tenant, limit=limit, expected=None)

    def put_file(self, path: Path, *, tenant: str, limit: int | None = None) -> StoredBlob:
        with path.open("rb") as file:
            return self._put(file, tenant, limit=limit, expected=path.stat().st_size)

    def put_bytes(self, data: bytes, *, tenant: str) -> StoredBlob:
        sha256 = hashlib.sha256(data).hexdigest()
        key = blob_key(tenant, sha256)
        self._upload(key, io.BytesIO(data), len(data))
        return StoredBlob(key, sha256, len(data))

    def _put(self, stream: BinaryIO, tenant: str, *, limit: int | None, expected: int | None) -> StoredBlob:
        check_tenant(tenant)
        # By way of a file: the key is known only at the end, and a request can be tried again.
        with arriving(self.copies.root, pieces_of(stream), limit=limit, expected=expected) as arrived:
            key = blob_key(tenant, arrived.sha256)
            with arrived.path.open("rb") as file:
                self._upload(key, file, arrived.size)
        return StoredBlob(key, arrived.sha256, arrived.size)

    def _upload(self, key: str, body: BinaryIO, size: int) -> None:
        sha256 = key_digest(key)
        if self._holds(key, size):
            return
        name, bucket = self._name(key), self.address.bucket
        with answering(self.place, size=size):
            if size <= _PART:
                digest = base64.b64encode(bytes.fromhex(sha256)).decode()
                self.client.put_object(
                    Bucket=bucket, Key=name, Body=body, ChecksumSHA256=digest, Metadata={"sha256": sha256}
                )
                return
            from boto3.s3.transfer import TransferConfig

            self.client.upload_fileobj(
                body,
                bucket,
                name,
                ExtraArgs={"ChecksumAlgorithm": "SHA256", "Metadata": {"sha256": sha256}},
                Config=TransferConfig(multipart_threshold=_PART, multipart_chunksize=_PART, max_concurrency=4),
            )

    def _holds(self, key: str, size: int) -> bool:
        """Whether a put of the same bytes made what is there; an object that somebody overwrote says otherwise."""
        head = self._head(key)
        return head is not None and head["ContentLength"] == size and head["Metadata"].get("sha256") == key_digest(key)

    def read(self, key: str) -> bytes:
        data = b"".join(self._pieces(check_key(key)))
        compare(key, hashlib.sha256(data).hexdigest())
        return data

    def read_range(self, key: str, start: int, length: int) -> bytes:
        if not length:
            self.size(key)
            return b""
        data = S3Ranges(self, key).read(start, length)
        if len(data) != length:
            raise BlobDamaged(key, f"it ends before byte {start + length}")
        return data

    def ranges(self, key: str) -> "Path | S3Ranges":
        return self.copies.find(check_key(key)) or S3Ranges(self, key)

    def local_path(self, key: str) -> Path:
        found = self.copies.find(check_key(key))
        return found or self._fetch(key)

    def _fetch(self, key: str) -> Path:
        with arriving(self.copies.root, self._pieces(key)) as arrived:
            compare(key, arrived.sha256)
            return self.copies.keep(key, arrived)

    def verify(self, key: str) -> None:
        digest = hashlib.sha256()
        for piece in self._pieces(check_key(key)):
            digest.update(piece)
        compare(key, digest.hexdigest())

    def exists(self, key: str) -> bool:
        return self._head(check_key(key)) is not None

    def size(self, key: str) -> int:
        head = self._head(check_key(key))
        if head is None:
            raise BlobMissing(key)
        return head["ContentLength"]

    def delete(self, keys: Sequence[str]) -> None:
        names = [self._name(check_key(key)) for key in keys]
        with answering(self.place):
            for first in range(0, len(names), _DELETED):
                self._delete(names[first : first + _DELETED])
        for key in keys:
            self.copies.drop(key)

    def _delete(self, names: Sequence[str]) -> None:
        """Objects in one request, or one by one at a server that does not know how, or asks for another checksum."""
        bucket = self.address.bucket
        objects: list[ObjectIdentifierTypeDef] = [{"Key": name} for name in names]
        try:
            answer = self.client.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
            kept = [error["Key"] for error in answer.get("Errors", ())]
        except ClientError as error:
            if status_of(error) not in _NOT_TOGETHER:
                raise
            kept = list(names)
        for name in kept:  # says why, or is lucky
            self.client.delete_object(Bucket=bucket, Key=name)

    def list(self) -> Iterator[ListedBlob]:
        beginning = self._name("")
        with answering(self.place):
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.address.bucket, Prefix=beginning)
            for page in pages:
                for found in page.get("Contents", ()):
                    key = found["Key"].removeprefix(beginning)
                    if is_key(key):
                        yield ListedBlob(key, found["Size"], found["LastModified"].timestamp())

    def remove_partial(self, older_than: float = PARTIAL_AGE) -> int:
        removed = remove_old(self.copies.root, older_than)
        self.copies.trim()
        bucket, oldest = self.address.bucket, time.time() - older_than
        with answering(self.place):
            pages = self.client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=self._name(""))
            for upload in [upload for page in pages for upload in page.get("Uploads", ())]:
                if upload["Initiated"].timestamp() <= oldest:
                    self.client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
                    removed += 1
        return removed

    def close(self) -> None:
        if "client" in self.__dict__:
            self.client.close()

    def _name(self, key: str) -> str:
        return f"{self.address.prefix}/{key}" if self.address.prefix else key

    def _head(self, key: str) -> "HeadObjectOutputTypeDef | None":
        """What S3 says of an object; None where there is none."""
        with answering(self.place):
            try:
                head = self.client.head_object(Bucket=self.address.bucket, Key=self._name(key))
            except ClientError as error:
                if status_of(error) != 404:
                    raise
                self._check_bucket()
                return None
        self._bucket_seen = True
        return head

    def _check_bucket(self) -> None:
        """A HEAD request says only that something is not there: it may be the bucket."""
        if self._bucket_seen:
            return
        try:
            self.client.head_bucket(Bucket=self.address.bucket)
        except ClientError as error:
            if status_of(error) == 404:
                raise BlobStoreUnusable(self.place, "there is no such bucket") from error
            raise
        self._bucket_seen = True

    def _pieces(self, key: str) -> Iterator[bytes]:
        """All of it, to be compared with its key."""
        with answering(self.place, key):
            try:
                yield from read_pieces(lambda at, etag: self._ask(key, at, None, etag), attempts=self._attempts)
            except Replaced as error:
                raise BlobDamaged(key, _REPLACED) from error

    def _ask(self, key: str, at: int, end: int | None, etag: str | None) -> Answer | None:
        """An object from a byte on, before `end`, and of that etag only; None where it ends before.

        Raises Replaced; what the client library raises.
        """
        wanted: GetObjectRequestTypeDef = {"Bucket": self.address.bucket, "Key": self._name(key)}
        if at or end is not None:  # a range of an empty object is none
            wanted["Range"] = f"bytes={at}-{'' if end is None else end - 1}"
        if etag is not None and not etag.startswith("W/"):  # a weak one, of something in between, matches nothing
            wanted["IfMatch"] = etag
        try:
            found = self.client.get_object(**wanted)
        except ClientError as error:
            if status_of(error) == 412:
                raise Replaced from error
            if code_of(error) == "InvalidRange":
                return None
            raise
        try:
            answer = answer_of(found)
        except ValueError:
            answer = None
        if answer is None or answer.begin > at:
            found["Body"].close()
            said = found.get("ContentRange")
            raise BlobStoreUnusable(self.place, f"asked for the bytes from {at} on it sent {said!r}")
        return answer


class S3Ranges:
    """One blob in ranges, a request each."""

    def __init__(self, blobs: S3Blobs, key: str) -> None:
        self._blobs = blobs
        self._key = check_key(key)
        self._size: int | None = None
        self.name = key_digest(key)

    def size(self) -> int:
        if self._size is None:
            self._size = self._blobs.size(self._key)
        return self._size

    def read(self, start: int, length: int) -> bytes:
        if not length:
            return b""
        blobs = self._blobs

        def ask(at: int, etag: str | None) -> Answer | None:
            answer = blobs._ask(self._key, at, start + length, etag)
            if answer is not None and answer.size is not None:
                self._size = answer.size
            return answer

        with answering(blobs.place, self._key):
            left = blobs._attempts
            while True:
                try:
                    return b"".join(read_pieces(ask, start=start, length=length, attempts=blobs._attempts))
                except Replaced as error:  # none of its bytes are given away yet: those of the new one will do
                    left -= 1
                    if not left:
                        raise BlobDamaged(self._key, _REPLACED) from error
