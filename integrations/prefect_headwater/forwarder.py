"""`headwater forward prefect`: brings the repository's events to Prefect, where automations wait for them.

It follows the feed under a durable name, so that after a stop it goes on where it was. An event is
acknowledged when Prefect has taken it; told twice, it has the same id and starts nothing again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any, NoReturn

import click
import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client

from headwater import HeadwaterError, NotFoundError, Repository, StorageError
from headwater.adapter import Event
from prefect_headwater.feed import KINDS, describe

CONSUMER = "prefect"
BATCH = 100
"""Most events of one request."""
MAX_WAIT = 60.0
"""Longest pause after failures, seconds."""

_log = logging.getLogger("headwater")


def forward(repo: Repository, client: SyncPrefectClient, consumer: str = CONSUMER) -> int:
    """Bring everything new to Prefect; return how many events that was.

    Raises:
        StorageError: Prefect could not be reached or refused; what it has not taken comes again.
        HeadwaterError: The repository could not be read.
    """
    sent = 0
    while events := repo.events(consumer=consumer, kinds=tuple(KINDS), limit=BATCH):
        told = [told for event in events for told in _told(repo, event)]
        if told:
            _post(client, told)
        events.ack()
        sent += len(told)
    return sent


def follow(repo: Repository, client: SyncPrefectClient, *, consumer: str, interval: float) -> NoReturn:
    """`forward` for ever; failures are logged, and tried again after growing pauses."""
    wait = interval
    while True:
        try:
            forward(repo, client, consumer)
            wait = interval
        except HeadwaterError as error:
            wait = min(MAX_WAIT, wait * 2)
            _log.warning("events were not forwarded, trying again in %.0f s: %s", wait, error)
        time.sleep(wait)


def _told(repo: Repository, event: Event) -> Iterator[dict[str, Any]]:
    if event.version_id is None:
        return
    try:
        version = repo.version_by_id(event.version_id)
    except NotFoundError:
        return
    word, alias = KINDS[event.kind], event.details.get("alias")
    cursor = event.cursor if alias is not None else None
    told = describe(repo, version, word, alias=alias, cursor=cursor)
    yield {**told, "id": str(told["id"]), "occurred": event.at.isoformat(), "related": []}


def _post(client: SyncPrefectClient, events: list[dict[str, Any]]) -> None:
    try:
        client.request("POST", "/events", json=events).raise_for_status()
    except httpx.HTTPError as error:
        raise StorageError(
            what=f"Prefect did not take {len(events)} events: {error}", where=str(client.api_url), retryable=True
        ) from error


@click.command("prefect")
@click.option("--once", is_flag=True, help="Bring what is new and stop.")
@click.option("--interval", type=float, default=1.0, show_default=True, help="Seconds between two looks.")
@click.option("--consumer", default=CONSUMER, show_default=True, help="Under which name the feed is followed.")
def command(repo: Repository, once: bool, interval: float, consumer: str) -> dict[str, int]:  # noqa: FBT001 - click's way
    """Bring events to Prefect, so that automations and deployments start on new versions.

    Prefect's server is that of PREFECT_API_URL, or of the current Prefect profile.
    """
    with get_client(sync_client=True) as client:
        if once:
            return {"forwarded": forward(repo, client, consumer)}
        follow(repo, client, consumer=consumer, interval=interval)
