"""Track a bucket prefix, train on it; somebody overwrites an object, and it does not go unnoticed.

    python examples/references/bucket.py s3://my-bucket/some/prefix

Writes three small objects below the prefix, and works with any server that
speaks the S3 API (AWS_ENDPOINT_URL). Try it on a bucket with versioning and on
one without.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import boto3

import headwater as hw

prefix = sys.argv[1].rstrip("/")
bucket, _, key = prefix.removeprefix("s3://").partition("/")
client = boto3.client("s3")
for part, rows in (("a", "1,2\n"), ("b", "3,4\n"), ("empty", "")):
    client.put_object(Bucket=bucket, Key=f"{key}/{part}.csv", Body=rows.encode())

with tempfile.TemporaryDirectory() as place:
    repo = hw.connect(Path(place, "repository"))
    with repo.start_run("track", project="demo") as run:
        data = hw.Artifact("rows", type="dataset")
        data.add_reference(prefix)  # lists the prefix; not a byte is copied
        version = run.log_artifact(data)
    for entry in version.entries():
        print(f"{entry.path}: {entry.size} bytes, held by {entry.pin.strength}")

    with repo.start_run("train", project="demo") as run:
        folder = run.use_artifact("rows:latest").download(Path(place, "train"))
        run.summary["total"] = sum(
            int(cell)
            for file in sorted(folder.glob("*.csv"))
            for cell in file.read_text().replace("\n", ",").split(",")
            if cell
        )
        print("trained on", run.summary["total"])

    client.put_object(Bucket=bucket, Key=f"{key}/b.csv", Body=b"30,40\n")
    print("still there as recorded:", repo.check(version).ok)
    try:
        with version.open("b.csv") as file:  # asks the bucket; a download would give the copy kept here
            print("the bytes as they were:", file.read().decode().strip())
    except hw.ReferenceChangedError as error:
        print("changed:", error.facts["uri"].removeprefix(prefix + "/"))
