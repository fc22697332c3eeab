"""What every catalog must find. Needs the fixture `world`."""

from __future__ import annotations

import pytest

from headwater.errors import InvalidInputError
from headwater.model.records import Query
from tests.contracts.catalog_world import World

NAN = float("nan")


class SearchContract:
    """The grammar of where= and order=, on versions, runs and artifacts."""

    def numbers(self, world: World, *where: str, order: str = "number", **query) -> list[int]:
        found = world.catalog.versions.versions(Query(project="p", where=where, order=order, **query))
        return [int(v.number or 0) for v in found]

    def test_versions_are_found_by_what_they_are(self, world: World):
        for n, (metadata, tags) in enumerate([
            ({"x": 1, "name": "ab", "deep": {"er": True}}, ("gold",)),
            ({"x": 2.5, "list": [1, "two"]}, ("gold", "old")),
            ({"x": "1", "my key": 7}, ()), ({"x": None}, ()), ({"x": NAN}, ()), ({}, ()),
        ]):  # fmt: skip
            world.commit("a", f"content {n}", metadata=metadata, tags=tags, aliases=("prod",) if n == 1 else ())
        for where, wanted in {
            "metadata.x=1": [0], "metadata.x>=1": [0, 1], "metadata.x>1": [1], 'metadata.x="1"': [2],
            "metadata.x!=1": [1, 2, 3, 4, 5], "metadata.x=null": [3, 5], "metadata.x!=null": [0, 1, 2, 4],
            "metadata.name~b": [0], "metadata.list~two": [1], "metadata.list~1": [1], "metadata.deep.er=true": [0],
            'metadata."my key"=7': [2], "tag=gold": [0, 1], "tag!=gold": [2, 3, 4, 5], "tag~ol": [0, 1],
            "alias=prod": [1], "alias=latest": [5], "alias!=latest": [0, 1, 2, 3, 4], "number<2": [0, 1],
            "type=dataset": [0, 1, 2, 3, 4, 5], "artifact~z": [], "name=a": [0, 1, 2, 3, 4, 5],
            "created>2020-01-01": [0, 1, 2, 3, 4, 5], "created<2020-01-01T00:00:00+02:00": [],
            "state=published": [0, 1, 2, 3, 4, 5],
            f"digest={world.find('a:v3').digest}": [3], "size=20": [0, 1, 2, 3, 4, 5],
        }.items():  # fmt: skip
            assert self.numbers(world, where) == wanted, where
            assert self.numbers(world, where, artifact="a") == wanted, where
        assert self.numbers(world, "metadata.x>=1", "tag=old") == [1]
        assert self.numbers(world, order="metadata.x") == [0, 1, 2, 5, 4, 3]
        assert self.numbers(world, order="-metadata.x") == [1, 0, 2, 5, 4, 3], "what has no value comes last either way"

    def test_the_best_run_of_a_sweep_is_one_question(self, world: World):
        for lr, acc in ((0.1, 0.8), (0.2, 0.95), (0.3, NAN), (0.4, None)):
            run = world.run(config={"lr": lr}, group="sweep")
            world.catalog.runs.update(run.id, summary={} if acc is None else {"val": {"acc": acc}})
            world.catalog.runs.close(run.id, "finished")
        query = Query(project="p", group="sweep", where=("state=finished",), order="-summary.val.acc")
        assert [r.config["lr"] for r in world.catalog.runs.list(query)] == [0.2, 0.1, 0.4, 0.3]
        best = Query(where=("config.lr>=0.1", "summary.val.acc>0.5"), order="-summary.val.acc", limit=1)
        assert [r.config["lr"] for r in world.catalog.runs.list(best)] == [0.2]

    def test_pages_follow_each_other_in_any_order(self, world: World):
        for n in range(7):
            world.run(f"k{n}", config={"x": n % 3} if n else {}, name=f"n{n % 2}")
        for order in ("", "-config.x", "config.x", "name", "-started", "attempt"):
            whole = [r.key for r in world.catalog.runs.list(Query(order=order))]
            paged, after = [], None
            while page := world.catalog.runs.list(Query(order=order, limit=2, after=after)):
                paged += [r.key for r in page]
                after = page[-1].id
            assert paged == whole and len(whole) == 7, order

    def test_newest_come_first_and_artifacts_by_name(self, world: World):
        for name in ("b", "a", "c"):
            world.commit(name, "x", type="model" if name == "c" else "dataset")
        assert [v.artifact for v in world.catalog.versions.versions(Query(project="p"))] == ["c", "a", "b"]
        assert [a.name for a in world.catalog.versions.artifacts(Query())] == ["a", "b", "c"]
        assert [a.name for a in world.catalog.versions.artifacts(Query(type="dataset", order="-name"))] == ["b", "a"]
        first = world.catalog.versions.artifacts(Query(limit=1))
        assert [a.name for a in world.catalog.versions.artifacts(Query(after=first[0].id))] == ["b", "c"]

    def test_bad_conditions_name_the_position(self, world: World):
        for where, position in {
            "": 0, "=1": 0, "metadata.x": 10, "metadata.x=": 11, 'metadata.x="a': 11, "metadata.x<true": 11,
            "nonsense=1": 0, "created>yesterday": 8, "number=three": 7, "tag>gold": 4, "metadata.x>null": 11,
            "metadata.x ? 1": 11, "metadata=1": 0, "inputs.x=1": 0,
        }.items():  # fmt: skip
            with pytest.raises(InvalidInputError) as refused:
                self.numbers(world, where)
            assert refused.value.facts["position"] == position, where
        for order in ("nonsense", "-", "metadata.x desc"):
            with pytest.raises(InvalidInputError):
                self.numbers(world, order=order)
        with pytest.raises(InvalidInputError):
            world.catalog.runs.list(Query(after="no such id"))

    def test_what_is_asked_for_is_never_read_as_sql(self, world: World):
        world.commit("a", "x", metadata={"it's": 'a "quote"; DROP TABLE versions'}, tags=("it's",))
        assert self.numbers(world, 'metadata."it\'s"~DROP TABLE') == [0]
        assert self.numbers(world, "tag=it's") == self.numbers(world, order='metadata."it\'s"') == [0]
        assert self.numbers(world, "tag=' OR 1=1 --") == []
        assert self.numbers(world, "name=:q0") == []
