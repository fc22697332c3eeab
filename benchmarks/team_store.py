"""S3 (SeaweedFS on loopback): 20,000 small files and a large one, beside DVC and plain boto3 on the same service."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

from benchmarks import child, data
from benchmarks.figures import Figure, at_most, faster
from benchmarks.peers import Dvc, version_of

TITLE = "Packs in S3"
SCALE = float(os.environ.get("HEADWATER_BENCH_SCALE", "1"))
"""1 is what the targets are for; 0.1 gives a first impression ten times sooner."""
COUNT, SIZE = max(200, int(20_000 * SCALE)), 8192
LARGE = max(64, int(1024 * SCALE)) * data.MIB


def ours(url: str, source: str, target: str) -> dict[str, Any]:
    """Log a folder, fetch it into an empty directory, change one file, log again."""
    import headwater as hw

    clock, folder = child.Clock(), Path(source)
    with hw.connect(url, project="bench") as repo:
        with clock("first"):
            version = repo.log_artifact(hw.Artifact("files").add_dir(folder))
        packs = len(list(repo.home.catalog.packs.packs()))
        with clock("fetch"):
            version.fetch(target)
        data.changed_one(folder, COUNT)
        with clock("changed"):
            repo.log_artifact(hw.Artifact("files").add_dir(folder))
    return {**clock.seconds, "packs": packs}


def ours_large(url: str, path: str, changed: str) -> dict[str, Any]:
    """Log one large file, then the same with 5 bytes inserted in its middle."""
    import headwater as hw

    clock = child.Clock()
    with hw.connect(url, project="bench") as repo:
        with clock("first"):
            repo.log_artifact(hw.Artifact("large").add_file(path, "f"))
        before = sum(size for *_, size in repo.home.catalog.packs.packs())
        with clock("insertion"):
            repo.log_artifact(hw.Artifact("large").add_file(changed, "f"))
        sent = sum(size for *_, size in repo.home.catalog.packs.packs()) - before
    return {**clock.seconds, "sent": sent}


def plain_upload(bucket: str, path: str) -> dict[str, Any]:
    """boto3's own multipart upload of the same bytes."""
    import boto3

    clock = child.Clock()
    client = boto3.client("s3")
    with clock("seconds"):
        client.upload_file(path, bucket, f"plain-{time.time_ns()}")
    return clock.seconds


class RemoteDvc(Dvc):
    """DVC with a remote in the same bucket."""

    def __init__(self, work: Path, bucket: str, endpoint: str) -> None:
        super().__init__(work)
        self._dvc("remote", "add", "-d", "bench", f"s3://{bucket}/dvc-{time.time_ns()}")
        self._dvc("remote", "modify", "bench", "endpointurl", endpoint)

    def timed(self, *arguments: str) -> float:
        """Seconds of one DVC command."""
        os.sync()
        start = time.perf_counter()
        self._dvc(*arguments)
        return time.perf_counter() - start

    def round(self, source: Path) -> dict[str, float]:
        """Add and push a folder, pull it again without the cache, push one changed file."""
        shutil.copytree(source, self.work / "files")
        first = self.timed("add", "-q", "files") + self.timed("push", "-q")
        shutil.rmtree(self.work / ".dvc" / "cache")
        shutil.rmtree(self.work / "files")
        pull = self.timed("pull", "-q")
        data.changed_one(self.work / "files", COUNT)
        return {"first": first, "pull": pull, "changed": self.timed("add", "-q", "files") + self.timed("push", "-q")}


def measure(work: Path, *, peers: bool) -> list[Figure]:
    """All figures of this file."""
    from headwater.connect import create
    from tests.postgres import cluster
    from tests.servers import seaweed

    server = seaweed.running()
    os.environ.update(
        AWS_ENDPOINT_URL=server.endpoint, AWS_REGION="us-east-1", AWS_ACCESS_KEY_ID=seaweed.OWNER[0],
        AWS_SECRET_ACCESS_KEY=seaweed.OWNER[1], AWS_EC2_METADATA_DISABLED="true",
    )  # fmt: skip
    bucket = server.bucket(f"bench-{os.getpid()}")
    shutil.rmtree(work / "team-cache", ignore_errors=True)
    os.environ["HEADWATER_CACHE"] = str(work / "team-cache")
    source = data.small_files(work / f"small-{COUNT}", COUNT, SIZE)
    url = cluster().new_database()
    create(url, f"s3://{bucket}/small").close()
    target = work / "team-fetched"
    shutil.rmtree(target, ignore_errors=True)
    mine = child.run(ours, url=url, source=str(source), target=str(target))
    data.restore(source)
    figures = [
        Figure(what=f"Headwater, {COUNT:,} files logged", value=mine["first"]),
        at_most("  data PUTs", mine["packs"], 10, ""),
        Figure(what="Headwater, fetched", value=mine["fetch"]),
        at_most("Headwater, one file changed", mine["changed"], 1.0),
        *large(url, bucket, work),
    ]
    if peers:
        dvc = RemoteDvc(work, bucket, server.endpoint).round(source)
        figures += [
            Figure(what=f"DVC {version_of('dvc')}, add and push", value=dvc["first"]),
            faster("  Headwater is faster by", mine["first"], dvc["first"], 10),
            Figure(what="DVC, pull", value=dvc["pull"]),
            faster("  Headwater is faster by", mine["fetch"], dvc["pull"], 15),
            Figure(what="DVC, one file changed", value=dvc["changed"]),
        ]
    shutil.rmtree(target, ignore_errors=True)
    return figures


def large(url: str, bucket: str, work: Path) -> list[Figure]:
    """One large file, beside boto3's own upload."""
    path = data.large_file(work / f"large-{LARGE}.bin", LARGE)
    changed = data.with_insertion(path, work / "large-inserted.bin", LARGE // 2, b"five!")
    data.settle()
    plain = child.run(plain_upload, bucket=bucket, path=str(path))["seconds"]
    mine = child.run(ours_large, url=url, path=str(path), changed=str(changed))
    changed.unlink()
    return [
        Figure(what=f"boto3, {LARGE // data.MIB:,} MiB in parts", value=plain),
        Figure(what="Headwater, the same", value=mine["first"]),
        at_most("  times boto3's", mine["first"] / plain, 1.2, "times"),
        at_most("Headwater, after 5 inserted bytes", mine["insertion"], 1.5),
        at_most("  sent for that", mine["sent"] / data.MIB, 2, "MiB"),
        at_most("Headwater, peak memory", mine["peak_mib"], 512, "MiB"),
    ]
