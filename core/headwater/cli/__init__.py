"""The command `headwater`: the verbs of the Python face, for shells and scripts.

Every command takes `--json`, which prints one document of a stable shape on
standard output; messages, progress and errors go to standard error. Exit codes:
0 fine or same, 1 differs, 2 usage, 3 not found, 4 conflict, 5 denied,
6 storage, 7 integrity.
"""

from __future__ import annotations


def main() -> None:
    """Run the command line with this process's arguments, then exit."""
    from headwater.cli.root import headwater  # not needed by those who import the package only

    headwater(prog_name="headwater")
