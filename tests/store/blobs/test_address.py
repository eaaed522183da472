"""An address of blobs is a directory or a bucket, and never holds a secret."""

from pathlib import Path

import pytest

from store.blobs import DirectoryBlobs, S3Address, open_blobs, parse_address
from store.errors import InvalidBlobUrl
from workers.errors import SettingsError
from workers.settings import load_settings


def test_addresses_name_places() -> None:
    assert parse_address("file:///srv/my%20blobs") == Path("/srv/my blobs")
    assert parse_address("s3://bucket") == S3Address("bucket")
    assert parse_address("s3://bucket/a/b/?endpoint_url=http%3A%2F%2Fminio%3A9000&region=eu-north-1") == S3Address(
        "bucket", "a/b", "http://minio:9000", "eu-north-1"
    )
    assert parse_address("s3://bucket?endpoint_url=http://minio:9000") == S3Address(
        "bucket", endpoint_url="http://minio:9000"
    )


def test_without_an_address_blobs_are_in_the_home(tmp_path: Path) -> None:
    store = open_blobs("", directory=tmp_path / "blobs", copies=tmp_path / "copies", copies_bytes=1)
    assert isinstance(store, DirectoryBlobs)
    assert store.root == tmp_path / "blobs"
    elsewhere = open_blobs(f"file://{tmp_path}/x", directory=tmp_path, copies=tmp_path / "copies", copies_bytes=1)
    assert elsewhere.put_bytes(b"x", tenant="acme").key in {
        path.relative_to(tmp_path / "x").as_posix() for path in (tmp_path / "x").rglob("*")
    }


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("blobs", "begins with neither file:// nor s3://"),
        ("gs://bucket", "begins with neither file:// nor s3://"),
        ("file://", "names no directory of this machine"),
        ("file://elsewhere/srv", "names no directory of this machine"),
        ("s3://", "names no bucket"),
        ("s3://bucket:9000/x", "names no bucket"),
        ("s3://key:secret@bucket", r"holds a user or password, which belong into AWS_\* variables"),
        ("s3://bucket?secret_key=hunter2", "has the option 'secret_key', which is none"),
        ("s3://bucket?endpoint_url=minio:9000", "has an endpoint_url that is more or less than"),
        ("s3://bucket?endpoint_url=http://", "has an endpoint_url that is more or less than"),
        ("s3://bucket?endpoint_url=http://me:hunter2@minio", "has an endpoint_url that is more or less than"),
        ("s3://bucket?region", "cannot be read"),
    ],
)
def test_what_is_no_address_is_said_without_repeating_it(url: str, fault: str) -> None:
    with pytest.raises(InvalidBlobUrl, match=f"the address of blobs {fault}.*: give file:///path or s3://") as raised:
        parse_address(url)
    assert "hunter2" not in str(raised.value)


def test_a_bad_address_stops_the_start_with_the_settings_name(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERCEL_BLOB_URL", "s3://key:hunter2@bucket")
    with pytest.raises(SettingsError, match=r"bad settings: PERCEL_BLOB_URL: .*holds a user or password") as raised:
        load_settings()
    assert "hunter2" not in str(raised.value)
