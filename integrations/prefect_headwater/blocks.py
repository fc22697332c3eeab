"""Blocks: a repository, and its store as the place of Prefect's results."""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from prefect.blocks.core import Block
from prefect.filesystems import WritableFileSystem
from pydantic import Field, HttpUrl, SecretStr

from headwater import Artifact, HeadwaterError, NotFoundError, Repository, connect
from headwater.adapter import default_repository
from prefect_headwater.settings import settings

DOCUMENTATION = HttpUrl("https://headwater.example.org/docs/prefect")
RESULT = "result"
"""The one file in a version that holds a result."""

_log = logging.getLogger("headwater")


class HeadwaterRepository(Block):
    """Which Headwater repository to use, and how.

    Example:
        Load a stored repository and look at an artifact:

        ```python
        from prefect_headwater import HeadwaterRepository

        headwater_repository = HeadwaterRepository.load("BLOCK_NAME")
        print(headwater_repository.get_client().version("vision/mnist:latest"))
        ```
    """

    _block_type_name = "Headwater Repository"
    _block_type_slug = "headwater-repository"
    _documentation_url = DOCUMENTATION

    url: str = Field(default=..., description="The repository: a folder, postgresql://… or https://….")
    password: SecretStr | None = Field(default=None, description="The password of the user in the URL.")
    project: str | None = Field(default=None, description="Where names without a project live.")
    tracking: str | None = Field(default=None, description="How strict recording is: strict, lenient or off.")

    def location(self) -> str:
        """The URL with the password in it, for `headwater.connect`."""
        if self.password is None:
            return self.url
        parts = urlsplit(self.url)
        user, _, host = parts.netloc.rpartition("@")
        login = f"{user.split(':')[0]}:{quote(self.password.get_secret_value(), safe='')}"
        return urlunsplit(parts._replace(netloc=f"{login}@{host}"))

    def get_client(self) -> Repository:
        """The repository, opened.

        Raises:
            HeadwaterError: It cannot be opened.
        """
        return connect(self.location(), project=self.project)


class HeadwaterStorage(WritableFileSystem):
    """Keeps Prefect's persisted results as versions: compressed, stored once, checked when read.

    Each result key is a partition of one artifact. Results that are handles are a few hundred bytes; the
    data they point at is not copied.

    Example:
        Persist the results of a flow in Headwater:

        ```python
        from prefect import flow
        from prefect_headwater import HeadwaterStorage

        headwater_storage = HeadwaterStorage.load("BLOCK_NAME")

        @flow(result_storage=headwater_storage, persist_result=True)
        def pipeline(): ...
        ```
    """

    _block_type_name = "Headwater Storage"
    _block_type_slug = "headwater-storage"
    _documentation_url = DOCUMENTATION

    repository: HeadwaterRepository | None = Field(
        default=None, description="Where results are kept; the process's own repository if left out."
    )
    artifact: str = Field(default="prefect-results", description="The artifact whose partitions are the results.")

    def write_path(self, path: str, content: bytes, **_: Any) -> None:  # type: ignore[override]  # as Prefect's own blocks
        """Keep a result; what is there already under the key becomes an older version.

        Raises:
            HeadwaterError: It was not kept.
        """
        artifact = Artifact(self.artifact, "prefect-result", partition=_key(path))
        artifact.add_bytes(content, RESULT)
        self._open().log_artifact(artifact)

    def read_path(self, path: str, **_: Any) -> bytes:  # type: ignore[override]  # as Prefect's own blocks
        """The newest result under the key.

        Raises:
            ValueError: There is none. Prefect runs the task.
            HeadwaterError: The repository failed. Prefect takes that for a miss too, so it is logged as an error.
        """
        try:
            found = self._open().version(f"{self.artifact}[{quote(_key(path), safe='')}]")
            with found.open(RESULT) as file:
                return file.read()
        except NotFoundError as miss:
            raise ValueError(f"no result is kept under {path}") from miss
        except HeadwaterError:
            _log.exception("the result %s could not be read; Prefect will run its task again", path)
            raise

    async def aread_path(self, path: str) -> bytes:
        """As `read_path`."""
        return await asyncio.to_thread(self.read_path, path)

    async def awrite_path(self, path: str, content: bytes) -> None:
        """As `write_path`."""
        await asyncio.to_thread(self.write_path, path, content)

    def _open(self) -> Repository:
        settings()
        if self.repository is None:
            return default_repository()
        return opened(self.repository)


_open_repositories: dict[tuple[str, str | None], Repository] = {}


def opened(block: HeadwaterRepository) -> Repository:
    """The repository of a block, opened once per process: loading and opening cost more than a result."""
    known = (block.location(), block.project)
    if known not in _open_repositories:
        _open_repositories[known] = block.get_client()
    return _open_repositories[known]


def _key(path: str) -> str:
    return str(path).strip("/")
