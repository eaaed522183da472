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
from store.blobs.body import read_pieces
from store.blobs.copies import LocalCopies
from store.blobs.keys import blob_key, check_key, compare, is_key, key_digest
from store.blobs.partial import arriving, pieces_of, remove_old
from store.blobs.refusals import answering, code_of, status_of
from store.errors import BlobDamaged, BlobMissing, BlobStoreUnusable
from store.tenants import check_tenant

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from types_boto3_s3 import S3Client
    from types_boto3_s3.type_defs import HeadObjectOutputTypeDef, ObjectIdentifierTypeDef

ATTEMPTS = 4  # of one request; with their pauses at most 7 s where the server answers with an error at once
_CONNECT_SECONDS = 5
_READ_SECONDS = 20  # without a byte
_PART = 16 << 20  # a larger blob is sent in parts of this size, so that a broken one does not start again
_DELETED = 1_000  # at once; S3 takes no more
_NOT_TOGETHER = (400, 405, 411, 501)  # answers to the wish to delete several
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
        name, bucket = self._name(key), self.address.bucket

        def ask(start: int) -> "tuple[StreamingBody, int]":
            if not start:  # a range of an empty object is none
                return self.client.get_object(Bucket=bucket, Key=name)["Body"], 0
            found = self.client.get_object(Bucket=bucket, Key=name, Range=f"bytes={start}-")
            return found["Body"], start if "ContentRange" in found else 0

        with answering(self.place, key):
            yield from read_pieces(ask, attempts=self._attempts)


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
        blobs, name = self._blobs, self._blobs._name(self._key)
        total: int | None = None

        def ask(done: int) -> "tuple[StreamingBody, int]":
            nonlocal total
            wanted = f"bytes={start + done}-{start + length - 1}"
            found = blobs.client.get_object(Bucket=blobs.address.bucket, Key=name, Range=wanted)
            if "ContentRange" not in found:  # a server that knows no ranges sends all of it
                return found["Body"], 0
            total = int(found["ContentRange"].rpartition("/")[2])
            return found["Body"], done

        with answering(blobs.place, self._key):
            try:
                data = b"".join(read_pieces(ask, attempts=blobs._attempts))
            except ClientError as error:
                if code_of(error) == "InvalidRange":  # it ends before
                    return b""
                raise
        if total is None:
            self._size = len(data)
            return data[start : start + length]
        self._size = total
        return data
