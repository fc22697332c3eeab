"""Versions from one repository to another, with the lineage they have: push, pull, and a file in between.

Ids are kept, so that a handle or a link means the same version in both places, and doing it
again copies nothing twice. Numbers are the target's: the mapping is in the result. No alias
moves unless asked; `latest` is always the newest version, so it moves by itself.
"""

from headwater.exchange.copying import Copied, CopiedVersion, Wishes, copy_versions
from headwater.exchange.portable import export_file, import_file
from headwater.exchange.selecting import select

__all__ = ["Copied", "CopiedVersion", "Wishes", "copy_versions", "export_file", "import_file", "select"]
