"""`headwater forward prefect`: brings the repository's events to Prefect, where automations wait for them.

It follows the feed under a durable name, so that after a stop it goes on where it was. An event is
acknowledged when Prefect has taken it. Told twice, it has the same id: Prefect itself drops a second telling
within some minutes, and what it still has in its feed is not told again, so that it starts nothing again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import click
import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client

from headwater import HeadwaterError, NotFoundError, Repository, StorageError
from headwater.adapter import Event
from prefect_headwater.feed import KINDS, describe

CONSUMER = "prefect"
BATCH = 50
"""Most events of one request: as many as Prefect looks up in one."""
NEWS = timedelta(minutes=10)
"""What is older than this when a feed is followed for the first time is history, and starts no deployments."""
MAX_WAIT = 60.0
"""Longest pause after failures, seconds."""

_EVER = datetime.min.replace(tzinfo=UTC)

_log = logging.getLogger("headwater")


def forward(repo: Repository, client: SyncPrefectClient, consumer: str = CONSUMER, *, history: bool = False) -> int:
    """Bring everything new to Prefect; return how many events that was.

    Args:
        repo: Whose feed.
        client: Whose server.
        consumer: Under which name the feed is followed.
        history: When it is followed for the first time, tell from the beginning, not only of the last minutes.

    Raises:
        StorageError: Prefect could not be reached or refused; what it has not taken comes again.
        HeadwaterError: The repository could not be read.
    """
    first_time = repo.events(consumer=consumer, limit=0).cursor == 0
    since = datetime.now(UTC) - NEWS if first_time and not history else _EVER
    sent = left_out = 0
    while events := repo.events(consumer=consumer, kinds=tuple(KINDS), limit=BATCH):
        news = [event for event in events if event.at >= since]
        told = [told for event in news for told in _told(repo, event)]
        sent += _tell(client, told) if told else 0
        left_out += len(events) - len(news)
        events.ack()
    if left_out:
        _log.warning("%d events of before are left out; `--history` with a new `--consumer` tells them too", left_out)
    return sent


def follow(
    repo: Repository, client: SyncPrefectClient, *, consumer: str, interval: float, history: bool = False
) -> NoReturn:
    """`forward` for ever; failures are logged, and tried again after growing pauses."""
    wait = interval
    while True:
        try:
            forward(repo, client, consumer, history=history)
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


def _tell(client: SyncPrefectClient, events: list[dict[str, Any]]) -> int:
    try:
        has = _known(client, [told["id"] for told in events])
        fresh = [told for told in events if told["id"] not in has]
        if fresh:
            client.request("POST", "/events", json=fresh).raise_for_status()
    except httpx.HTTPError as error:
        raise StorageError(
            what=f"Prefect did not take {len(events)} events: {error}", where=str(client.api_url), retryable=True
        ) from error
    return len(fresh)


def _known(client: SyncPrefectClient, ids: list[str]) -> Collection[str]:
    """Which of these Prefect has: tasks tell of their own at once, and a telling may not have been noted."""
    asked = {"filter": {"id": {"id": ids}}, "limit": BATCH}
    answer = client.request("POST", "/events/filter", json=asked).raise_for_status()
    return {event["id"] for event in answer.json()["events"]}


@click.command("prefect")
@click.option("--once", is_flag=True, help="Bring what is new and stop.")
@click.option("--interval", type=float, default=1.0, show_default=True, help="Seconds between two looks.")
@click.option("--consumer", default=CONSUMER, show_default=True, help="Under which name the feed is followed.")
@click.option("--history", is_flag=True, help="At the first start, also tell what is older than ten minutes.")
def command(repo: Repository, once: bool, interval: float, consumer: str, history: bool) -> dict[str, int]:  # noqa: FBT001 - click's way
    """Bring events to Prefect, so that automations and deployments start on new versions.

    It goes on where it stopped. At its very first start, what happened long before starts nothing.
    Prefect's server is that of PREFECT_API_URL, or of the current Prefect profile.
    """
    with get_client(sync_client=True) as client:
        if once:
            return {"forwarded": forward(repo, client, consumer, history=history)}
        follow(repo, client, consumer=consumer, interval=interval, history=history)
