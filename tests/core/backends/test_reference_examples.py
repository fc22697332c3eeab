"""The examples of references run as they stand, and say what they promise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import seaweed

EXAMPLES = Path(__file__).parents[3] / "examples" / "references"


def run(name: str, *arguments: str, home: Path, **environment: str) -> list[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("HEADWATER_", "AWS_"))}
    paths = {"HOME": str(home), "TMPDIR": str(home), "PYTHONPATH": str(EXAMPLES.parents[1] / "core")}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        env={**clean, **paths, "NO_PROXY": "127.0.0.1", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_web_and_share(tmp_path: Path) -> None:
    assert run("web_and_share.py", home=tmp_path) == [
        "share/readings #1.csv: checksum, at readings%20%231.csv",
        "stations.csv: checksum, at stations.csv",
        "id,name",
        "7,Harbour",
        "changed since it was logged: stations.csv",
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("versioned", "strength", "last"),
    [(False, "etag", "changed: b.csv"), (True, "version", "the bytes as they were: 3,4")],
)
def test_bucket(tmp_path: Path, versioned: bool, strength: str, last: str) -> None:
    server = seaweed.running()
    bucket = server.bucket(f"example-{os.getpid()}-{strength}", versioned=versioned)
    environment = {
        "AWS_ENDPOINT_URL": server.endpoint, "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ACCESS_KEY_ID": seaweed.OWNER[0], "AWS_SECRET_ACCESS_KEY": seaweed.OWNER[1],
    }  # fmt: skip
    assert run("bucket.py", f"s3://{bucket}/some/prefix", home=tmp_path, **environment) == [
        f"a.csv: 4 bytes, held by {strength}",
        f"b.csv: 4 bytes, held by {strength}",
        # SeaweedFS lists empty objects without an ETag, so their time is all that is known
        f"empty.csv: 0 bytes, held by {strength if versioned else 'stat'}",
        "trained on 10",
        f"still there as recorded: {versioned}",
        last,
    ]
