"""DAGs whose lives the tests on a real Airflow interfere with."""

from __future__ import annotations

import time
from typing import Any

from airflow.sdk import dag, task

import headwater as hw
from airflow_headwater import HeadwaterVersionSensor, artifact_asset, watched_asset

made_here = artifact_asset("vision/made-here")
from_outside = watched_asset("vision/from-outside", poll_seconds=0.5)
promoted = watched_asset("vision/promoted", alias="prod", poll_seconds=0.5)


@dag(schedule=None)
def producer():
    @task.headwater(log=made_here)
    def make(text: str) -> str:
        return text

    @task
    def plain(handle: Any) -> None:
        hw.log("seen", hw.use(handle).load())

    plain(make("{{ dag_run.conf['text'] }}"))


@dag(schedule=[made_here])
def consumer():
    @task.headwater(log="consumed")
    def consume(triggering_asset_events: Any = None) -> str:
        said = [event.extra["headwater"] for events in triggering_asset_events.values() for event in events]
        return hw.use(said[-1]["ref"]).load()

    consume()


@dag(schedule=[from_outside])
def follower():
    @task.headwater(log="followed")
    def follow(triggering_asset_events: Any = None) -> list[str]:
        events = [event for found in triggering_asset_events.values() for event in found]
        return sorted(v["ref"] for event in events for v in event.extra["payload"]["headwater"])

    follow()


@dag(schedule=[promoted])
def deployer():
    @task.headwater
    def deploy(model: hw.Version[str] = hw.Use("promoted:prod")) -> str:
        return str(model)

    deploy()


@dag(schedule=None)
def waiting():
    wait = HeadwaterVersionSensor(task_id="wait", artifact="awaited", deferrable=True, poke_interval=0.5, timeout=60)

    @task.headwater(log="answer")
    def answer(data: str) -> str:
        return f"answer to {data}"

    answer(wait.output)


@dag(schedule=None)
def endless():
    @task.headwater(log="never")
    def sleep() -> str:
        hw.log("started", "yes")
        time.sleep(90)
        return "never"

    sleep()


producer()
consumer()
follower()
deployer()
waiting()
endless()
