"""Brings annotations to Prefect beside the work: a request takes longer than most steps record.

One thread per process, made at the first annotation, never carried over a fork. A flow's end waits for
it, and so does the end of the process; a page that cannot be had is never worth a failed task.
"""

from __future__ import annotations

import logging
import os
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextvars import copy_context
from typing import TYPE_CHECKING

from prefect.client.orchestration import SyncPrefectClient, get_client

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prefect.client.schemas.actions import ArtifactCreate

MAX_WAIT = 30.0
"""Longest wait at a flow's end, seconds; what is left goes on."""

_log = logging.getLogger("headwater")


class _Postman:
    def __init__(self) -> None:
        self.thread = ThreadPoolExecutor(1, "headwater-prefect-pages")
        self.sent: set[Future[None]] = set()
        self.clients: dict[str, SyncPrefectClient] = {}

    def post(self, annotations: Sequence[ArtifactCreate]) -> None:
        """Past the client's `create_artifact`, which makes one more event of each and doubles what it costs."""
        try:
            client = self._client()
            for annotation in annotations:
                sent = annotation.model_dump(mode="json", exclude_unset=True)
                client.request("POST", "/artifacts/", json=sent).raise_for_status()
        except Exception as error:  # noqa: BLE001 - whatever it is, the work is done and recorded
            _log.warning("Prefect's pages could not be told: %s", error)

    def _client(self) -> SyncPrefectClient:
        """One open client per server, as this context's settings name it."""
        found = get_client(sync_client=True)
        where = str(found.api_url)
        if where not in self.clients:
            self.clients[where] = found.__enter__()
        return self.clients[where]


_here: dict[str, _Postman] = {}


def send(annotations: Sequence[ArtifactCreate]) -> None:
    """Bring them, soon."""
    postman = _here.get("postman") or _here.setdefault("postman", _Postman())
    job = postman.thread.submit(copy_context().run, postman.post, annotations)  # Prefect's settings are in the context
    postman.sent.add(job)
    job.add_done_callback(postman.sent.discard)


def wait() -> None:
    """Until everything sent so far is there."""
    postman = _here.get("postman")
    if postman is not None:
        wait_for(list(postman.sent), MAX_WAIT)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_here.clear)
