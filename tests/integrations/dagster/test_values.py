"""Every value an asset returns is a version, every load a use; types by annotation, None in its three forms."""

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import headwater as hw
from dagster_headwater import HeadwaterIOManager, HeadwaterResource, headwater_metadata
from tests.integrations.dagster.conftest import event, graph


@dataclasses.dataclass
class Point:
    x: int
    y: list[float]


def made(value: Any, annotation: Any) -> Any:
    def thing():
        return value

    thing.__annotations__ = {"return": annotation}
    return dg.asset(thing)


def taken(annotation: Any, seen: list[Any]) -> Any:
    def taker(thing) -> None:
        seen.append(thing)

    taker.__annotations__ = {"thing": annotation, "return": None}
    return dg.asset(taker)


FRAME = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
VALUES = {
    "pandas": (FRAME, pd.DataFrame),
    "polars": (pl.DataFrame({"a": [1, 2]}), pl.DataFrame),
    "arrow": (pa.table({"a": [1, 2]}), pa.Table),
    "numpy": (np.arange(6).reshape(2, 3), np.ndarray),
    "bytes": (b"\x00\xff", bytes),
    "text": ("grüße", str),
    "number": (0.5, float),
    "json": ({"a": [1, None, "x"]}, dict),
    "dataclass": (Point(1, [0.5]), Point),
}


@pytest.mark.parametrize("kind", VALUES)
def test_a_value_comes_back_as_it_was(kind, run, repo):
    value, annotation = VALUES[kind]
    seen: list[Any] = []
    assert run([made(value, annotation), taken(annotation, seen)]).success
    assert type(seen[0]) is type(value)
    assert str(seen[0]) == str(value)
    assert graph(repo)["thing"] == ("finished", [], ["thing:v0"])
    assert graph(repo)["taker"] == ("finished", ["thing:v0"], [])


@pytest.mark.parametrize("annotation", [pl.DataFrame, pl.LazyFrame, pa.Table, dict, Any])
def test_a_table_is_loaded_as_what_the_reader_asks_for(annotation, run):
    seen: list[Any] = []
    run([made(FRAME, pd.DataFrame), taken(annotation, seen)])
    assert isinstance(seen[0], pd.DataFrame if annotation is Any else annotation)


def test_a_lazy_frame_is_stored_and_read_lazily(run):
    seen: list[Any] = []
    run([made(pl.LazyFrame({"a": [1, 2]}), pl.LazyFrame), taken(pl.LazyFrame, seen)])
    assert seen[0].collect()["a"].to_list() == [1, 2]


def test_a_directory_and_a_file_are_paths_on_both_sides(run, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"a")
    seen: list[Any] = []
    run([made(tmp_path / "images", Path), taken(Path, seen)])
    assert (seen[0] / "a.png").read_bytes() == b"a"
    (tmp_path / "b.png").write_bytes(b"b")
    run([made(tmp_path / "b.png", Path), taken(Path, seen)])
    assert (seen[1].name, seen[1].read_bytes()) == ("b.png", b"b")


def test_a_path_that_is_yielded_may_lie_in_a_temporary_directory(run, repo):
    @dg.asset
    def thing():
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "a").write_text("kept")
            yield dg.Output(Path(folder))

    run([thing])
    assert (repo.version("thing").load() / "a").read_text() == "kept"


def test_a_path_that_is_gone_says_so(run):
    @dg.asset
    def thing() -> Path:
        with tempfile.TemporaryDirectory() as folder:
            return Path(folder)

    with pytest.raises(dg.Failure, match="yield"):
        run([thing])


def test_a_handle_moves_no_bytes_and_an_artifact_holds_references(run, repo, tmp_path):
    (tmp_path / "elsewhere.csv").write_text("1\n")

    @dg.asset
    def corpus() -> hw.Artifact:
        artifact = hw.Artifact("corpus", "dataset")
        artifact.add_reference(f"file://{tmp_path}/elsewhere.csv", "elsewhere.csv")
        return artifact

    @dg.asset
    def index(corpus: hw.Version) -> str:
        return corpus.digest

    run([corpus, index])
    assert [entry.uri for entry in repo.version("corpus").entries()] == [f"file://{tmp_path}/elsewhere.csv"]
    assert repo.version("index").load() == repo.version("corpus").digest
    assert graph(repo)["index"][1] == ["corpus:v0"]


def test_a_returned_version_is_pointed_at(run, repo):
    with repo.start_run("before"), hw.run_as(hw.RunIdentity(key="before")):
        old = repo.run(repo.runs()[0].id).log_artifact("good", "other")

    @dg.asset
    def thing() -> hw.Version:
        return repo.version("other:v0")

    @dg.asset(metadata=headwater_metadata(artifact="named"))
    def same() -> hw.Version:
        return hw.log("named", 7)

    assert run([thing, same]).success
    assert repo.version("thing").digest == old.digest
    assert graph(repo)["thing"] == ("finished", ["other:v0"], ["thing:v0"])
    assert graph(repo)["same"] == ("finished", [], ["named:v0"])
    assert [v.version for v in repo.artifact("named").versions()] == ["v0"]


def test_none_in_its_three_forms(run, repo):
    @dg.asset
    def nothing() -> None: ...

    @dg.asset
    def implied():
        return None

    @dg.asset
    def maybe() -> pd.DataFrame | None:
        return None

    seen: list[Any] = []

    @dg.asset(deps=[nothing])
    def reader(implied, maybe: pd.DataFrame | None) -> None:
        seen.append((implied, maybe))

    assert run([nothing, implied, maybe, reader]).success
    assert seen == [(None, None)]
    assert not repo.exists("nothing")
    assert repo.version("maybe").load() is None


def test_what_only_pickle_could_keep_is_refused_until_somebody_asks(run, headwater):
    @dg.asset
    def thing():
        return lambda: 1

    with pytest.raises(dg.Failure, match="allow_pickle"):
        run([thing])
    allowed = {"io_manager": HeadwaterIOManager(headwater=headwater, allow_pickle=True)}

    @dg.asset
    def odd():
        return complex_thing()

    seen: list[Any] = []

    @dg.asset
    def reader(odd) -> None:
        seen.append(odd)

    assert run([odd, reader], resources=allowed).success
    assert seen[0].pattern == "a+"


def complex_thing():
    import re

    return re.compile("a+")


def test_unchanged_content_makes_no_version_and_says_so(run, repo, instance):
    for _ in range(2):
        run([made(FRAME, pd.DataFrame)])
    shown = event(instance, "thing").metadata
    assert shown["headwater/new_version"].value is False
    assert [v.version for v in repo.artifact("thing").versions()] == ["v0"]


def test_a_materialization_shows_what_people_look_at(run, repo, instance):
    thing = made(FRAME, pd.DataFrame)
    run([thing])

    @dg.asset
    def double(thing: pd.DataFrame) -> pd.DataFrame:
        return thing

    run([thing, double], selection=[double])
    found = event(instance, "double")
    shown = {name: value.value for name, value in found.metadata.items()}
    assert shown["headwater/artifact"] == "lake/double:v0"
    assert shown["dagster/uri"] == "headwater://lake/double:v0"
    assert shown["headwater/digest"] == repo.version("double").digest
    assert shown["headwater/inputs"] == ["lake/thing:v0"]
    assert (shown["headwater/files"], shown["headwater/new_version"]) == (1, True)
    assert shown["headwater/size"] == repo.version("double").size
    assert shown["headwater/show"] == "headwater artifact show lake/double:v0"
    assert shown["headwater/run"] == f"headwater run show {repo.runs(where=['name=double'])[0].id}"
    assert not any(type(value) is dg.UrlMetadataValue for value in found.metadata.values())
    assert shown["dagster/row_count"] == 2
    assert [column.name for column in shown["dagster/column_schema"].columns] == ["a", "b"]


def test_a_materialization_counts_what_it_does_not_list(run, repo, instance):
    with repo.start_run("before") as before:
        names = [before.log_artifact(number, f"n{number}").name for number in range(52)]

    @dg.asset
    def thing(context) -> int:
        return sum(hw.use(name).load() for name in names)

    run([thing])
    shown = event(instance, "thing").metadata["headwater/inputs"].value
    assert (len(shown), shown[-1]) == (51, "and 2 more")


def test_a_materialization_links_to_the_pages_of_a_team(url, run, repo, instance):
    linked = HeadwaterResource(url=url, project="lake", pages_url="https://headwater.example.org/")
    run([made(1, int)], resources={"io_manager": HeadwaterIOManager(headwater=linked)})
    shown = event(instance, "thing").metadata
    assert shown["headwater/url"] == dg.MetadataValue.url("https://headwater.example.org/lake/thing/v0")
    assert shown["headwater/run"].value == f"https://headwater.example.org/runs/{repo.runs()[0].id}"


def test_secrets_of_the_config_stay_references(run, repo, monkeypatch):
    monkeypatch.setenv("MY_PASSWORD", "hunter2")

    class Config(dg.Config):
        password: str
        rows: int

    @dg.asset
    def thing(config: Config) -> str:
        assert config.password == "hunter2"
        return "x"

    run([thing], run_config={"ops": {"thing": {"config": {"password": {"env": "MY_PASSWORD"}, "rows": 3}}}})
    config = repo.runs()[0].config
    assert "hunter2" not in str(config)
    assert config["config"]["rows"] == 3


def test_hw_verbs_inside_an_asset_join_its_run(run, repo):
    @dg.asset
    def thing() -> str:
        hw.log("side", {"a": 1})
        hw.current_run().summary["acc"] = 0.5
        return hw.use("side").load()["a"] * "x"

    run([thing])
    assert len(repo.runs()) == 1
    assert graph(repo)["thing"] == ("finished", ["side:v0"], ["side:v0", "thing:v0"])
    assert repo.runs()[0].summary == {"acc": 0.5}


def test_names_do_not_collide_whatever_keys_contain(run, repo):
    keys = [["a", "b"], ["a.b"], ["a/b"], ["a_b"], ["ä", " "], ["a", "b:c@d[e]"]]
    outs = {f"out{number}": dg.AssetOut(key=dg.AssetKey(key)) for number, key in enumerate(keys)}

    @dg.multi_asset(outs=outs)
    def things():
        return tuple(range(len(keys)))

    run([things])
    found = {info.name: info.versions()[0].load() for info in repo.artifacts()}
    assert len(found) == len(keys)
    assert sorted(found.values()) == list(range(len(keys)))


def test_looking_at_results_records_nothing(run, repo, resources, instance):
    result = run([made(1, int)])
    assert result.output_for_node("thing") == 1
    defs = dg.Definitions(assets=[made(1, int)], resources=resources)
    assert defs.load_asset_value("thing", instance=instance) == 1
    assert len(repo.runs()) == 1
    assert not repo.version("thing").used_by()


def test_an_asset_loaded_inside_an_asset_is_a_use(resources, repo, instance):
    @dg.asset(deps=["thing"])
    def reader(context: dg.AssetExecutionContext) -> int:
        return context.load_asset_value(dg.AssetKey("thing")) + 1

    defs = dg.Definitions(assets=[made(1, int), reader], resources=resources)
    defs.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance, asset_selection=[dg.AssetKey("thing")]
    )
    defs.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance, asset_selection=[dg.AssetKey("reader")]
    )
    assert graph(repo)["reader"] == ("finished", ["thing:v0"], ["reader:v0"])
