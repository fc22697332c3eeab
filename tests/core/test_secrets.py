"""P8: what a run is told may hold secrets; nothing that Headwater writes, prints or raises does."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest

import headwater as hw
from headwater.code import program_arguments
from headwater.model.values import MASK, mask, mask_source, mask_text

SECRET = "hunter2hunter2"
URL = f"postgresql://me:{SECRET}@db.example.org/x"
SIGNED = f"https://example.org/data?X-Amz-Signature={SECRET}&part=1"


def files_below(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def working_copy(tmp_path, monkeypatch):
    """A git working copy with a secret in a change that is not committed."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    (folder / "train.py").write_text("KEY = None\n")
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *words], check=True, capture_output=True)
    (folder / "train.py").write_text(f'API_KEY = "{SECRET}"\nos.environ["DB_PASSWORD"] = "{SECRET}"\nx = "{URL}"\n')


def test_nothing_written_holds_a_secret_though_all_was_asked_for(folder_repo, working_copy, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["train.py", "--password", SECRET, f"--api-key={SECRET}", URL, "--lr", "0.1"])
    config = {"db": URL, "nested": [{"secret": SECRET}], "token": SECRET, "max_tokens": 4096, "tokenizer": "bpe"}
    with (
        pytest.raises(RuntimeError),
        folder_repo.start_run(
            "train", config=config, links={"console": SIGNED}, capture=("code", "diff", "arguments")
        ) as run,
    ):
        run.summary["from"] = SIGNED
        artifact = hw.Artifact("cnn", metadata={"source": URL}).add_bytes(b"x", "a.txt")
        version = run.log_artifact(artifact)
        version.metadata["copied"] = SIGNED
        version.save()
        raise RuntimeError(f"connection to {URL} failed, Authorization: Bearer {SECRET}, password={SECRET}")
    other = folder_repo.start_run("other", group="night")
    folder_repo.close_group("night", "failed", error=RuntimeError(f"no {URL}"))
    found = folder_repo.run(run.id)
    assert found.record.code["arguments"][2:] == [
        MASK, f"--api-key={MASK}", f"postgresql://me:{MASK}@db.example.org/x", "--lr", "0.1",
    ]  # fmt: skip
    assert (found.config["max_tokens"], found.config["tokenizer"], found.config["token"]) == (4096, "bpe", MASK)
    assert other.reload().state == "failed"
    folder_repo.close()
    leaks = [str(path) for path, data in files_below(tmp_path / "repository").items() if SECRET.encode() in data]
    assert leaks == []
    assert SECRET not in str(version.to_json()) + repr(pickle.dumps(version)) + repr(run)


def test_a_diff_and_arguments_are_not_captured_unasked(folder_repo, working_copy, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "plain-argument"])
    with folder_repo.start_run("train") as run:
        pass
    code = folder_repo.run(run.id).record.code
    assert code["dirty"] is True
    assert not {"diff", "arguments"} & code.keys()


@pytest.mark.parametrize("uri", [URL, SIGNED, f"https://me:{SECRET}@example.org/x"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_manifest_takes_no_secret(uri):
    artifact = hw.Artifact("data")
    try:
        artifact.add_reference(uri, name="x", pin=False)
    except hw.HeadwaterError as refused:
        assert SECRET not in str(refused)  # either is fine: refused, or recorded without the secret
    assert not any(SECRET in str(planned) for planned in artifact.entries())


def test_errors_of_a_connection_repeat_no_password():
    with pytest.raises(hw.HeadwaterError) as refused:
        hw.connect(f"postgresql://me:{SECRET}@127.0.0.1:1/nowhere")
    assert SECRET not in repr(refused.value) + str(refused.value.to_json()) + str(refused.value.__cause__)


@pytest.mark.parametrize(
    "text",
    [
        f"ghp_{'a1' * 18}", "AKIAIOSFODNN7EXAMPLE", f"sk-{'x' * 24}", "Authorization: Bearer abcdefgh12345",
        "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----", f"user=me password={SECRET} host=x",
    ],
)  # fmt: skip
def test_credentials_are_known_by_their_look(text):
    assert MASK in mask_text(text)
    assert MASK in mask({"note": text})["note"]


@pytest.mark.parametrize(
    "text", ["unexpected token: }", "the secret of speed", "s3://bucket/key?versionId=3", "tokenizer=bpe", "sk-learn"]
)
def test_ordinary_words_stay(text):
    assert mask_text(text) == mask_source(text) == text
    assert mask({"max_tokens": 1, "tokenizer": text, "author": text}) == {
        "max_tokens": 1, "tokenizer": text, "author": text,
    }  # fmt: skip


def test_an_option_s_value_is_masked_and_the_others_stay(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x", "--token", SECRET, "--epochs", "3"])
    assert program_arguments() == ["x", "--token", MASK, "--epochs", "3"]
