"""FileSource keeps the contract of every source."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.backends.filesource import FileSource
from tests.contracts.source_contract import SourceContract


class Folder:
    """A share as others see it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, key: str, data: bytes) -> None:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def delete(self, key: str) -> None:
        (self.root / key).unlink()

    def uri(self, key: str) -> str:
        return (self.root / key).as_uri() + ("/" if key.endswith("/") else "")


class TestFileSource(SourceContract):
    @pytest.fixture
    def source(self) -> FileSource:
        return FileSource()

    @pytest.fixture
    def world(self, tmp_path: Path) -> Folder:
        return Folder(tmp_path)
