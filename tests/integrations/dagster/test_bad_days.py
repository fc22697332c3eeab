"""The store is down, flaky or lenient; the op is never run again because of it."""

import warnings

import dagster as dg
import pytest

import headwater as hw
from dagster_headwater import HeadwaterIOManager, HeadwaterResource, io_manager
from tests.integrations.dagster.conftest import event, graph


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(io_manager, "PAUSES", (0.0, 0.0))


@pytest.fixture
def ran():
    return []


@pytest.fixture
def raw(ran):
    @dg.asset
    def raw() -> int:
        ran.append("raw")
        return 1

    return raw


@dg.asset
def after(raw: int) -> int:
    return raw + 1


def failing(monkeypatch, times: int, *, retryable: bool = True):
    """The next uploads fail that often, as those of an object store that is away."""
    from headwater.backends.files import FileStore

    real, left = FileStore.put, [times]

    def put(self, *args, **options):
        if left[0] > 0:
            left[0] -= 1
            raise hw.StorageError(what="the bucket does not answer", where="s3://bucket", retryable=retryable)
        return real(self, *args, **options)

    monkeypatch.setattr(FileStore, "put", put)
    return left


def test_an_upload_is_tried_again_and_the_op_is_not(run, repo, raw, ran, monkeypatch):
    failing(monkeypatch, 2)
    assert run([raw, after]).success
    assert ran == ["raw"]
    assert repo.version("after").load() == 2
    assert len(repo.runs()) == 2


def test_a_store_that_stays_down_is_a_failure_that_names_it(run, repo, raw, url, monkeypatch):
    failing(monkeypatch, 1000)
    with pytest.raises(dg.Failure) as caught:
        run([raw])
    assert "the bucket does not answer" in caught.value.description
    assert "s3://bucket" in caught.value.description
    assert caught.value.metadata["headwater/repository"].value == url
    assert graph(repo)["raw"] == ("failed", [], [])


def test_what_waiting_cannot_mend_is_not_tried_again(run, raw, monkeypatch):
    left = failing(monkeypatch, 1000, retryable=False)
    with pytest.raises(dg.Failure):
        run([raw])
    assert left[0] == 999


def test_passwords_do_not_reach_the_failure(run, raw):
    away = HeadwaterResource(url="postgresql://me:hunter2@127.0.0.1:1/none")
    with pytest.raises(dg.Failure) as caught:
        run([raw], resources={"io_manager": HeadwaterIOManager(headwater=away)})
    assert "hunter2" not in str(caught.value.description) + str(caught.value.metadata)
    assert "127.0.0.1" in str(caught.value.description)


@pytest.fixture
def lenient(url):
    resource = HeadwaterResource(url=url, project="lake", tracking="lenient")
    return {"headwater": resource, "io_manager": HeadwaterIOManager(headwater=resource)}


def test_lenient_tracking_warns_once_and_the_pipeline_goes_on(  # noqa: PLR0917
    run, repo, raw, lenient, instance, monkeypatch, capfd
):
    left = failing(monkeypatch, 10_000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = run([raw, after], resources=lenient)
    assert result.success
    assert capfd.readouterr().err.count("are not recorded") == 1
    assert event(instance, "after").metadata["headwater/recorded"].value is False
    assert "headwater/artifact" not in event(instance, "after").metadata
    assert not repo.exists("after")
    left[0] = 0
    assert run([raw, after], resources=lenient).success
    assert repo.version("after").load() == 2


@pytest.mark.slow
def test_lenient_with_a_repository_that_is_away(run, raw, instance):
    away = HeadwaterResource(url="postgresql://me@127.0.0.1:1/none", tracking="lenient")
    assert run([raw], resources={"io_manager": HeadwaterIOManager(headwater=away)}).success


def test_a_value_no_run_keeps_is_not_read_by_another(run, raw, lenient, monkeypatch):
    left = failing(monkeypatch, 10_000)
    run([raw], resources=lenient)
    left[0] = 0
    with pytest.raises(dg.Failure, match="raw"):
        run([raw, after], selection=["after"], resources=lenient)


def test_tracking_off_keeps_values_in_dagster_only(run, repo, raw, url):
    off = HeadwaterResource(url=url, project="lake", tracking="off")
    assert run([raw, after], resources={"io_manager": HeadwaterIOManager(headwater=off)}).success
    assert not repo.runs()
