"""S3 stores, of Amazon or others, by pyarrow."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import urlsplit

from vixtract.vault.connection import AUTHORITIES, CONNECT_S, Connection
from vixtract.vault.fields import Field, mark
from vixtract.vault.kind import REACH_S, Kind, find_server_of_url
from vixtract.vault.remote_files import RemoteFile

_AMAZON = "https://s3.{region}.amazonaws.com"


class S3(Connection):
    """An S3 store, of Amazon or another."""

    kind: ClassVar[str] = "s3"

    @property
    def url(self) -> str:
        """`s3://bucket`; empty if the connection names no bucket."""
        return f"s3://{self.bucket}" if self.bucket else ""

    @property
    def storage_options(self) -> dict[str, str]:
        """What polars takes: `polars.read_parquet("s3://…", storage_options=…)`."""
        options = {
            "aws_access_key_id": self.access_key,
            "aws_secret_access_key": self.secret_key,
            "aws_region": self.region,
        }
        if self.address:
            options["aws_endpoint_url"] = self.address
            options["aws_allow_http"] = str(self.address.startswith("http://")).lower()
        return options

    def client(self, **options: Any) -> Any:
        """Return a pyarrow file system, which pandas takes as `filesystem=`."""
        from pyarrow.fs import S3FileSystem

        own: dict[str, Any] = {
            "access_key": self.access_key,
            "secret_key": self.secret_key,
            "region": self.region,
            "connect_timeout": CONNECT_S,
            "request_timeout": 60.0,
            "tls_ca_file_path": AUTHORITIES,
        }
        if self.address:
            parts = urlsplit(self.address)
            own["endpoint_override"] = parts.netloc + parts.path.rstrip("/")
            own["scheme"] = parts.scheme
        return S3FileSystem(**{**own, **options})

    def file(self, path: str) -> RemoteFile:
        """Return a file for petl below the connection's bucket, or `bucket/path` if it has none."""
        return RemoteFile(self._open, path)

    def _open(self, path: str, mode: str) -> Any:
        full = f"{self.bucket}/{path}" if self.bucket else path
        # A small file then goes in one request.
        system = self.client(allow_delayed_open=True)
        if mode == "rb":
            return io.BufferedReader(system.open_input_file(full))
        return system.open_output_stream(full)


class S3Kind(Kind):
    """The kind for S3 stores."""

    title = "S3"
    connection = S3
    fields = (
        Field(
            "address",
            mark("Address"),
            mark("For example https://s3.example.com; if empty, Amazon."),
            rule="url",
            destination=True,
        ),
        Field("region", mark("Region"), default="us-east-1", longest=50),
        Field(
            "bucket",
            mark("Bucket"),
            mark("If empty, each path begins with its bucket."),
            longest=100,
        ),
        Field("access_key", mark("Access key"), required=True, longest=200),
        Field("secret_key", mark("Secret key"), secret=True, required=True),
    )
    meanings: ClassVar[Mapping[str, str]] = {
        r"INVALID_ACCESS_KEY_ID|InvalidAccessKeyId|SIGNATURE|SignatureDoesNotMatch": "wrong_login",
        r"ACCESS_DENIED|AccessDenied|HTTP status 403|response code: 403": "no_right",
        r"NO_SUCH_BUCKET|NoSuchBucket|does not exist|HTTP status 404|FileNotFound": "no_bucket",
        r"PermanentRedirect|AuthorizationHeaderMalformed|HTTP status 301|region": "moved",
        r"SSL|certificate": "tls",
        r"timeout|timed out": "late",
    }
    results: ClassVar[Mapping[str, str]] = {
        "no_bucket": mark("The login is correct, but the bucket or path does not exist."),
    }

    def find_server(self, values: Mapping[str, str]) -> tuple[str, int]:
        """Return the host and the port of the address, or of Amazon's in the region."""
        return find_server_of_url(values["address"] or _AMAZON.format(region=values.get("region")))

    def test(self, connection: Any) -> None:
        """List the bucket, or the buckets."""
        from pyarrow.fs import AwsStandardS3RetryStrategy, FileSelector

        once = AwsStandardS3RetryStrategy(max_attempts=1)
        system = connection.client(
            connect_timeout=REACH_S, request_timeout=10.0, retry_strategy=once
        )
        system.get_file_info(FileSelector(connection.bucket, recursive=False))


KIND = S3Kind()
