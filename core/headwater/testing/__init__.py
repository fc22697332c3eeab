"""Suites that prove an implementation of a port; for pytest, in the tests of whoever writes one.

    from headwater.testing import SourceContract

    class TestMySource(SourceContract):
        @pytest.fixture
        def source(self): return MySource()
        @pytest.fixture
        def world(self): return MyWorld(...)

Needs pytest, which Headwater does not install.
"""

import pytest

pytest.register_assert_rewrite("headwater.testing.source_contract")

from headwater.testing.source_contract import STRANGE, SourceContract, World, read  # noqa: E402

__all__ = ["STRANGE", "SourceContract", "World", "read"]
