"""Partitions in every form: one version each, names that cannot collide, fan-in, windows, self-dependency."""

import dagster as dg
import pytest

from dagster_headwater import PartitionedOutput, headwater_metadata
from tests.integrations.dagster.conftest import event, graph

ODD = ["a/b", "a b", "a:b", "a@b", "a%5Bb", "%", "ä", "a" * 300, "..", "a\"b'c"]
LETTERS = dg.StaticPartitionsDefinition(["a", "b", "c"])
DAYS = dg.DailyPartitionsDefinition("2024-01-01", end_date="2024-01-05")


def parts(definition):
    @dg.asset(partitions_def=definition)
    def part(context: dg.AssetExecutionContext) -> str:
        return f"of {context.partition_key}"

    return part


def fan_in(seen, **options):
    @dg.asset(ins={"part": dg.AssetIn(**options)})
    def all_parts(part) -> None:
        seen.append(part)

    return all_parts


def test_a_partition_has_versions_of_its_own(run, repo, instance):
    part = parts(LETTERS)
    for key in ("a", "b", "a"):
        run([part], partition_key=key)
    assert [info.record.partition for info in repo.artifact("part").partitions()] == ["a", "b"]
    assert repo.version("part[a]").load() == "of a"
    assert repo.version("part[b]").version == "v0"
    assert event(instance, "part", partition="b").metadata["headwater/artifact"].value == "lake/part[b]:v0"
    assert repo.runs()[0].config["partition"] == "a"


def test_odd_keys_do_not_collide(run, repo):
    part, seen = parts(dg.StaticPartitionsDefinition(ODD)), []
    for key in ODD:
        run([part], partition_key=key)
    run([part, fan_in(seen)], selection=["all_parts"])
    assert seen == [{key: f"of {key}" for key in ODD}]


def test_daily_partitions_go_through_row_by_row(run, repo):
    part = parts(DAYS)

    @dg.asset(partitions_def=DAYS)
    def next_part(part: str) -> str:
        return part.upper()

    for day in ("2024-01-01", "2024-01-02"):
        run([part, next_part], partition_key=day)
    assert repo.version("next_part[2024-01-02]").load() == "OF 2024-01-02"
    uses = {run.uses()[0].version.partition for run in repo.runs(where=["name=next_part"])}
    assert uses == {"2024-01-01", "2024-01-02"}


def test_dynamic_partitions(run, repo, instance):
    part = parts(dg.DynamicPartitionsDefinition(name="people"))
    instance.add_dynamic_partitions("people", ["ann"])
    run([part], partition_key="ann")
    assert repo.version("part[ann]").load() == "of ann"


def test_two_dimensions(run, repo):
    both = dg.MultiPartitionsDefinition({"day": DAYS, "letter": LETTERS})
    part = parts(both)
    run([part], partition_key=dg.MultiPartitionKey({"letter": "a", "day": "2024-01-01"}))
    assert repo.version("part[2024-01-01|a]").load() == "of 2024-01-01|a"

    @dg.asset(partitions_def=LETTERS, ins={"part": dg.AssetIn(metadata={"allow_missing_partitions": True})})
    def by_letter(part: dict[str, str]) -> list:
        return sorted(part)

    run([part, by_letter], selection=["by_letter"], partition_key="a", raise_on_error=False)
    run([part], partition_key=dg.MultiPartitionKey({"letter": "a", "day": "2024-01-02"}))
    run([part, by_letter], selection=["by_letter"], partition_key="a")
    assert repo.version("by_letter[a]").load() == ["2024-01-01|a", "2024-01-02|a"]


def test_one_partition_is_a_value_or_always_a_dict(run):
    part, seen = parts(dg.StaticPartitionsDefinition(["only"])), []
    run([part], partition_key="only")
    run([part, fan_in(seen)], selection=["all_parts"])
    run([part, fan_in(seen, metadata=headwater_metadata(always_dict=True))], selection=["all_parts"])
    assert seen == ["of only", {"only": "of only"}]


def test_a_pin_holds_for_each_partition(run, repo):
    part, seen = parts(dg.StaticPartitionsDefinition(["a", "b"])), []
    for key in ("a", "b"):
        run([part], partition_key=key)
        repo.set_alias(f"part[{key}]:prod", "v0")
        with repo.start_run("elsewhere") as other:
            other.log_artifact("newer", "part", partition=key)
    run([part, fan_in(seen, metadata=headwater_metadata(alias="prod"))], selection=["all_parts"])
    run([part, fan_in(seen)], selection=["all_parts"])
    assert seen == [{"a": "of a", "b": "of b"}, {"a": "newer", "b": "newer"}]


def test_missing_partitions_fail_unless_they_are_allowed(run):
    part, seen = parts(LETTERS), []
    run([part], partition_key="b")
    with pytest.raises(dg.Failure, match=r"part\[a\]"):
        run([part, fan_in(seen)], selection=["all_parts"])
    run([part, fan_in(seen, metadata={"allow_missing_partitions": True})], selection=["all_parts"])
    assert seen == [{"b": "of b"}]


def test_a_rolling_window(run, repo):
    part, seen = parts(DAYS), []

    @dg.asset(
        partitions_def=DAYS,
        ins={
            "part": dg.AssetIn(
                partition_mapping=dg.TimeWindowPartitionMapping(start_offset=-1),
                metadata=headwater_metadata(always_dict=True, allow_missing_partitions=True),
            )
        },
    )
    def window(part: dict[str, str]) -> None:
        seen.append(sorted(part))

    for day in ("2024-01-01", "2024-01-02", "2024-01-03"):
        run([part, window], partition_key=day)
    assert seen == [["2024-01-01"], ["2024-01-01", "2024-01-02"], ["2024-01-02", "2024-01-03"]]


def test_an_asset_that_reads_its_own_yesterday(run, repo):
    yesterday = dg.TimeWindowPartitionMapping(start_offset=-1, end_offset=-1)

    @dg.asset(partitions_def=DAYS, ins={"total": dg.AssetIn(partition_mapping=yesterday)})
    def total(total) -> int:
        return (total or 0) + 1

    for day in ("2024-01-01", "2024-01-02", "2024-01-03"):
        run([total], partition_key=day)
    assert repo.version("total[2024-01-03]").load() == 3


@pytest.mark.parametrize("container", [dict, PartitionedOutput])
def test_a_single_run_over_several_partitions_makes_a_version_of_each(run, repo, instance, container):
    @dg.asset(partitions_def=LETTERS, backfill_policy=dg.BackfillPolicy.single_run())
    def part(context: dg.AssetExecutionContext):
        return container({key: f"of {key}" for key in context.partition_keys})

    @dg.asset(partitions_def=LETTERS, backfill_policy=dg.BackfillPolicy.single_run())
    def upper(part: dict[str, str]):
        return {key: value.upper() for key, value in part.items()}

    tags = {"dagster/asset_partition_range_start": "a", "dagster/asset_partition_range_end": "c"}
    run([part, upper], tags=tags)
    assert {info.record.partition: info.versions()[0].load() for info in repo.artifact("upper").partitions()} == {
        "a": "OF A", "b": "OF B", "c": "OF C",
    }  # fmt: skip
    for key in ("a", "c"):
        assert event(instance, "part", partition=key).metadata["headwater/artifact"].value == f"lake/part[{key}]:v0"
    assert len(repo.runs()) == 2


def test_a_single_run_that_returns_other_keys_is_refused(run):
    @dg.asset(partitions_def=LETTERS, backfill_policy=dg.BackfillPolicy.single_run())
    def part():
        return {"a": 1}

    tags = {"dagster/asset_partition_range_start": "a", "dagster/asset_partition_range_end": "c"}
    with pytest.raises(dg.Failure, match="covers 3 partitions"):
        run([part], tags=tags)


def test_an_unpartitioned_asset_in_a_partitioned_run_has_no_partition(run, repo):
    @dg.asset
    def settings() -> int:
        return 1

    @dg.asset(partitions_def=LETTERS)
    def part(settings: int) -> int:
        return settings

    run([settings, part], partition_key="a")
    assert repo.version("settings").partition == ""
    assert graph(repo)["part"][1] == ["settings:v0"]


def test_deps_on_partitions_are_uses_of_those_partitions(run, repo):
    part = parts(LETTERS)
    run([part], partition_key="b")

    @dg.asset(partitions_def=LETTERS, deps=[part])
    def table() -> int:
        return 1

    run([part, table], selection=["table"], partition_key="b")
    assert graph(repo)["table"] == ("finished", ["part[b]:v0"], ["table[b]:v0"])
