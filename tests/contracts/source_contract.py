"""The contract of sources is shipped, so that third parties can test theirs with it."""

from headwater.testing import STRANGE, SourceContract, World, read

__all__ = ["STRANGE", "SourceContract", "World", "read"]
