"""`doctor` of repositories in buckets: rules that expire packs, rights that are missing, clocks that differ."""

from __future__ import annotations

import datetime as dt
import json
import time

import pytest

from tests.postgres import cluster
from tests.servers import azurite, fakegcs, seaweed
from tests.servers.faults import FaultProxy
from tests.servers.team import environment, place

pytestmark = pytest.mark.slow


def bad(report) -> dict[str, str]:
    """What is wrong, by name."""
    return {check["name"]: f"{check['what']}: {check['fix']}" for check in report["checks"] if not check["ok"]}


def said(report, name: str) -> str:
    (check,) = [check for check in report["checks"] if check["name"] == name]
    return f"{check['what']}: {check['fix']}"


class TestS3:
    @pytest.fixture(autouse=True)
    def there(self, monkeypatch):
        environment(monkeypatch)

    def test_who_may_only_read_is_told_which_right_is_missing_and_may_read(self, cli, monkeypatch):
        cli("init", "--objects", f"s3://{seaweed.PUBLIC}/doctor-{time.time_ns()}")
        (cli.home / "x").write_text("1")
        cli("artifact", "put", "a", cli.home / "x")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", seaweed.READER[0])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", seaweed.READER[1])
        wrong = bad(cli.json("doctor", code=5))
        assert wrong.keys() == {"store write"} and "allow s3:PutObject" in wrong["store write"]
        cli("artifact", "get", "a", "there")
        (cli.home / "x").write_text("2")
        cli.error("artifact", "put", "a", cli.home / "x", code=5)

    def test_rules_that_do_not_reach_the_packs_are_none_of_our_business(self, cli):
        bucket = seaweed.running().bucket(f"tidied-{time.time_ns()}")
        cli("init", "--objects", f"s3://{bucket}/packs/here")
        rules = [
            {"ID": "others", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 1}},
            {"ID": "off", "Status": "Disabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}},
        ]
        client = seaweed.running().client()
        client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})
        assert "no rule" in said(cli.json("doctor"), "lifecycle")
        rules[0]["Filter"]["Prefix"] = "packs/"
        client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})
        assert "'others' on packs/ after days 1" in bad(cli.json("doctor", code=6))["lifecycle"]

    def test_this_machines_clock_is_ten_minutes_slow(self, cli, monkeypatch):
        url = cluster().new_database()
        cli("init", url, "--objects", place())
        monkeypatch.setenv("HEADWATER_URL", url)
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() - 600)
        wrong = bad(cli.json("doctor", code=6))
        assert wrong.keys() == {"catalog clock", "store clock"}
        for what in wrong.values():
            assert " s ahead of this machine's" in what and "NTP" in what


class TestGCS:
    @pytest.fixture
    def wire(self, monkeypatch):
        """Between us and a real emulator, for it keeps no rules and knows no rights."""
        for name, value in (("NO_GCE_CHECK", "true"), ("CLOUDSDK_CONFIG", "/nonexistent")):
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
        with FaultProxy(fakegcs.running().port) as proxy:
            monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.endpoint)
            yield proxy

    @pytest.fixture
    def made(self, cli, wire):
        bucket = fakegcs.running().bucket(f"doctor-{time.time_ns()}")
        cli("init", "--objects", f"gs://{bucket}/p")
        return cli

    def answer(self, wire, status: str, document: object, match: str) -> None:
        wire.answer(status, 10, match, "Content-Type: application/json\r\n", json.dumps(document).encode())

    def test_a_rule_of_the_bucket_that_deletes_packs_is_named(self, made, wire):
        assert "no rule" in said(made.json("doctor"), "lifecycle")
        rule = {"action": {"type": "Delete"}, "condition": {"age": 30, "matchesPrefix": ["p/"]}}
        elsewhere = {"action": {"type": "Delete"}, "condition": {"age": 1, "matchesPrefix": ["logs/"]}}
        self.answer(wire, "200 OK", {"lifecycle": {"rule": [elsewhere, rule]}}, "fields=lifecycle")
        what = bad(made.json("doctor", code=6))["lifecycle"]
        assert "on p/" in what and "30" in what and "logs/" not in what

    def test_who_may_not_see_the_rules_is_told_to_look(self, made, wire):
        denied = {"error": {"code": 403, "message": "ann does not have storage.buckets.get access"}}
        self.answer(wire, "403 Forbidden", denied, "fields=lifecycle")
        what = said(made.json("doctor"), "lifecycle")
        assert "not known" in what and "look that no rule" in what

    def test_who_may_not_write_is_told_which_right_is_missing(self, made, wire):
        denied = {"error": {"code": 403, "message": "ann does not have storage.objects.create access"}}
        self.answer(wire, "403 Forbidden", denied, "POST /upload")
        assert "allow storage.objects.create" in bad(made.json("doctor", code=5))["store write"]


class TestAzure:
    @pytest.fixture
    def made(self, cli, monkeypatch):
        for name in ("KEY", "ACCOUNT_KEY", "SAS_TOKEN", "ACCOUNT", "ACCOUNT_NAME"):
            monkeypatch.delenv(f"AZURE_STORAGE_{name}", raising=False)
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.running().connection_string)
        container = azurite.running().container(f"doctor-{time.time_ns()}")
        cli("init", "--objects", f"az://{container}/p")
        cli.container = container
        return cli

    def test_rules_cannot_be_asked_for_and_doctor_says_where_to_look(self, made):
        report = made.json("doctor")
        assert report["ok"]
        what = said(report, "lifecycle")
        assert "not known: Azure keeps such rules with the account" in what and "Lifecycle management" in what

    def test_who_may_only_read_is_told_which_role_is_missing(self, made, monkeypatch):
        from azure.storage.blob import ContainerSasPermissions, generate_container_sas

        token = generate_container_sas(
            azurite.ACCOUNT, made.container, account_key=azurite.KEY,
            permission=ContainerSasPermissions(read=True, list=True),
            expiry=dt.datetime.now(dt.UTC) + dt.timedelta(hours=1),
        )  # fmt: skip
        string = f"BlobEndpoint={azurite.running().endpoint};SharedAccessSignature={token}"
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", string)
        done = made("doctor", "--json", code=5)
        assert "allow Storage Blob Data Contributor" in bad(json.loads(done.stdout))["store write"]
        assert token.partition("sig=")[2][:20] not in done.stdout + done.stderr
