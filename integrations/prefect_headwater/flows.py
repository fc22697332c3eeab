"""`@track`: a flow whose runs are Headwater runs. Hooks only; the flow and its function stay as they are."""

from __future__ import annotations

from typing import Any, TypeVar

from prefect import Flow

from headwater import InvalidInputError
from prefect_headwater.endings import watch_flow

F = TypeVar("F", bound=Flow[..., Any])


def track(flow: F) -> F:
    """Record each run of the flow: its parameters, its state, and as the parent of what its tasks record.

    Write it above `@flow`. Versions among the flow's parameters are recorded as used.

    Raises:
        InvalidInputError: Not a flow.
    """
    if not isinstance(flow, Flow):
        raise InvalidInputError(what=f"{flow!r} is not a flow", fix="write @track above @flow")
    watch_flow(flow)
    return flow
