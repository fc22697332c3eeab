"""`init` and `doctor` for a team: what is tried out, what is recorded, what is said of a set-up that is wrong."""

from __future__ import annotations

import datetime as dt

import pytest

from headwater.backends.memory import MemoryStore
from headwater.catalog.sql import open_catalog
from headwater.errors import AccessError, ConflictError
from headwater.examination import examine_store
from tests.postgres import cluster
from tests.servers import seaweed
from tests.servers.team import environment, place


class Odd(MemoryStore):
    """A store with something wrong."""

    def __init__(self, wrong: str) -> None:
        super().__init__()
        self._wrong = wrong

    def put(self, key, data):
        if self._wrong == "write":
            raise AccessError(what="no", where=self.url)
        super().put(key, data)

    def get(self, key, start=0, length=None):
        return super().get(key, 0, length) if self._wrong == "ranges" else super().get(key, start, length)

    def delete(self, key):
        if self._wrong == "delete":
            raise AccessError(what="no", where=self.url)
        super().delete(key)

    def list(self, prefix=""):
        for info in super().list(prefix):
            skew = dt.timedelta(hours=1 if self._wrong == "clock" else 0)
            if self._wrong != "list":
                yield info._replace(modified_at=info.modified_at - skew)

    def swap_marker(self, key, data, expect):
        try:
            return super().swap_marker(key, data, expect)
        except ConflictError:
            if self._wrong == "condition":
                return "token"
            raise

    def expiring_rules(self):
        return ("rule 'old' on everything after days 30",) if self._wrong == "lifecycle" else ()


@pytest.mark.parametrize(
    ("wrong", "name", "says"),
    [
        ("write", "store write", "no"),
        ("ranges", "store read", "part"),
        ("list", "store list", "not listed"),
        ("clock", "store clock", "3,600 s behind"),
        ("condition", "store condition", "clean-up cannot be safe"),
        ("delete", "store delete", "no"),
        ("lifecycle", "lifecycle", "days 30"),
    ],
)
def test_each_thing_that_can_be_wrong_with_a_store_is_said_in_words(wrong, name, says):
    bad = [found for found in examine_store(Odd(wrong)) if not found.ok]
    assert bad[0].name == name
    assert says in bad[0].what


def test_a_good_store_passes_and_is_left_as_it_was():
    store = Odd("nothing")
    found = list(examine_store(store))
    assert all(one.ok for one in found) and len(found) == 7
    assert list(store.list()) == []


@pytest.mark.slow
class TestATeam:
    @pytest.fixture
    def url(self, monkeypatch):
        environment(monkeypatch)
        return cluster().new_database()

    def test_init_records_the_place_and_then_the_catalogs_url_is_all_a_worker_needs(self, cli, url, monkeypatch):
        root = place()
        made = cli.json("init", url, "--objects", root)
        assert made["objects"] == root
        monkeypatch.setenv("HEADWATER_URL", url)
        (cli.home / "x").write_text("1")
        cli("artifact", "put", "a", cli.home / "x")
        assert cli.json("init", url)["repository"] == made["repository"], "again: nothing changes"
        report = cli.json("doctor")
        assert report["ok"], report
        names = {check["name"] for check in report["checks"]}
        assert {"catalog", "catalog clock", "catalog write", "marker", "store write", "lifecycle"} <= names
        assert "elsewhere" in cli.error("init", url, "--objects", root + "/elsewhere", code=4)

    def test_init_refuses_a_place_that_may_not_be_written_and_records_nothing(self, cli, url, monkeypatch):
        root = place()
        with monkeypatch.context() as reader:
            reader.setenv("AWS_ACCESS_KEY_ID", seaweed.READER[0])
            reader.setenv("AWS_SECRET_ACCESS_KEY", seaweed.READER[1])
            said = cli.error("init", url, "--objects", root, code=5)
        assert "packs cannot be kept" in said and "allow s3:PutObject" in said
        catalog = open_catalog(url)
        assert catalog.setting("store_root") is None
        catalog.close()
        assert "--objects" in cli.error("init", url, code=2)
        cli("init", url, "--objects", root)

    def test_init_refuses_the_place_of_another_repository(self, cli, url):
        root = place()
        cli("init", cluster().new_database(), "--objects", root)
        assert "belong to repository" in cli.error("init", url, "--objects", root, code=4)

    def test_doctor_warns_of_rules_that_expire_packs(self, cli, url, monkeypatch):
        bucket = seaweed.running().bucket(f"expiring-{url.rpartition('t')[2].partition('?')[0].replace('_', '-')}")
        cli("init", url, "--objects", f"s3://{bucket}/p")
        monkeypatch.setenv("HEADWATER_URL", url)
        rule = {"ID": "tidy", "Status": "Enabled", "Filter": {"Prefix": "p/"}, "Expiration": {"Days": 30}}
        seaweed.running().client().put_bucket_lifecycle_configuration(
            Bucket=bucket, LifecycleConfiguration={"Rules": [rule]}
        )
        report = cli.json("doctor", code=6)
        (bad,) = [check for check in report["checks"] if not check["ok"]]
        assert bad["name"] == "lifecycle" and "30" in bad["what"]

    def test_doctor_says_that_the_schema_is_newer_that_the_store_is_anothers_that_packs_are_elsewhere(
        self, cli, url, monkeypatch
    ):
        root = place()
        cli("init", url, "--objects", root)
        monkeypatch.setenv("HEADWATER_URL", url)
        catalog = open_catalog(url)
        other = place()
        cli("init", cluster().new_database(), "--objects", other)
        catalog.set_setting("store_root", other)
        assert "belong to repository" in cli("doctor", code=4).stdout
        catalog.set_setting("store_root", root)
        catalog.set_setting("min_reader", "99")
        assert "upgrade headwater" in cli("doctor", code=7).stdout
        catalog.close()

    def test_a_password_is_never_printed(self, cli, monkeypatch):
        monkeypatch.setenv("HEADWATER_URL", "postgresql://ann:hidden@127.0.0.1:1/d")
        done = cli("doctor", code=6)
        assert "hidden" not in done.stdout + done.stderr
