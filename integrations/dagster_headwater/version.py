"""The version that Dagster lists; the adapter is part of the `headwater` distribution and versioned with it."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("headwater")
except PackageNotFoundError:  # run from a source tree
    __version__ = "0"
