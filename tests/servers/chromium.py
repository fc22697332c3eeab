"""The browser that tests look at pages with."""

from __future__ import annotations

import os
import shutil

import pytest

NAMES = (
    "chromium", "chromium-browser", "google-chrome", "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)  # fmt: skip


def chromium() -> str:
    """The program; where there is none the test fails, unless somebody said that they do without."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None and os.environ.get("HEADWATER_NO_BROWSER"):
        pytest.skip("HEADWATER_NO_BROWSER is set and there is no Chromium: nobody looked at this page")
    if found is None:
        pytest.fail(
            "there is no Chromium to look at the page with, and `make browser` could not install one: install it"
            " (Debian: apt-get install chromium), or set HEADWATER_NO_BROWSER=1 to do without these tests"
        )
    return found
