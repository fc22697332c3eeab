"""What the tests of upkeep start from."""

from __future__ import annotations

import random

import headwater as hw

KIB = 1024


def noise(seed: int, size: int = 20 * KIB) -> bytes:
    """Bytes that do not compress, the same for the same seed."""
    return random.Random(seed).randbytes(size)


def log(repo, name: str, *seeds: int, size: int = 20 * KIB, **options) -> hw.Version:
    """A version with a file `<seed>.bin` for each seed."""
    made = hw.Artifact(name)
    for seed in seeds:
        made.add_bytes(noise(seed, size), f"{seed}.bin")
    return repo.log_artifact(made, **options)


def idle(repo, clock, hours: float) -> None:
    """So much time in which nobody writes."""
    repo.home.leases.close()
    clock.forward(hours=hours)
