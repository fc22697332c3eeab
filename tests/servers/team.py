"""A team's repository: PostgreSQL and an S3 bucket, one server of each per test process, a fresh place per test."""

from __future__ import annotations

import functools
import itertools
import os
import uuid
from typing import TYPE_CHECKING

from tests.postgres import cluster
from tests.servers import seaweed

if TYPE_CHECKING:
    import pytest

_numbers = itertools.count()
_buckets: dict[int, str] = {}


def environment(patch: pytest.MonkeyPatch) -> seaweed.S3Server:
    """Let clients of this process and its children find the S3 service."""
    server = seaweed.running()
    patch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    patch.setenv("AWS_REGION", "us-east-1")
    patch.setenv("AWS_ACCESS_KEY_ID", seaweed.OWNER[0])
    patch.setenv("AWS_SECRET_ACCESS_KEY", seaweed.OWNER[1])
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    patch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    return server


def place() -> str:
    """The URL of an empty prefix in this process's bucket."""
    server = seaweed.running()
    if os.getpid() not in _buckets:
        _buckets[os.getpid()] = server.bucket(f"team-{os.getpid()}")
    return f"s3://{_buckets[os.getpid()]}/{next(_numbers)}"


@functools.cache
def _template(pid: int) -> str:
    """The name of a database with an empty catalog: copying it is quicker than making tables."""
    from headwater.catalog.sql import create

    url = cluster().new_database()
    create(url).close()
    return url.partition("@/")[2].partition("?")[0]


def new_repository(patch: pytest.MonkeyPatch, objects: str | None = None) -> str:
    """Make a repository, as `init` would; its catalog's URL, which is all a worker needs."""
    import psycopg

    environment(patch)
    template, name = _template(os.getpid()), f"team{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(cluster().url(), autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    url = cluster().url(name)
    with psycopg.connect(url) as catalog:
        catalog.execute("UPDATE settings SET value = %s WHERE key = 'repository_id'", [str(uuid.uuid4())])
        catalog.execute("INSERT INTO settings (key, value) VALUES ('store_root', %s)", [objects or place()])
    return url
