"""A real `dagster dev` with its daemon, driven over GraphQL; and the `dg` command on a project with the component."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import headwater as hw
from tests.servers.chromium import chromium

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "dagster"


@pytest.fixture
def demo():
    spec = importlib.util.spec_from_file_location("dagster_demo", EXAMPLE / "demo.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_launch_sensor_check_and_automation_in_a_running_dagster(demo, tmp_path, url):
    lines = []
    with (
        hw.connect(url, project="digits") as repo,
        demo.running_dagster(EXAMPLE / "definitions.py", tmp_path / "dagster", HEADWATER_URL=url) as dagster,
    ):
        demo.drive(dagster, repo, lines.append)
        assert len(dagster.launched_by("headwater_versions")) == 1
        assert repo.version("digits-model:champion").version == "v0"
        assert repo.version("comparison").load()["champion"] > 0.9
        assert {info.record.partition for info in repo.artifact("pictures").partitions()} == {"2026-01", "2026-02"}
        upstream = {repo.version_by_id(v).label for v in repo.version("digits-model").upstream().versions}
        assert {"corrected-labels:v0", "training_data:v0", "digits-model:v0"} <= upstream
        demo.wait_for(lambda: all(run.state == "finished" for run in repo.runs()), "the ends of all runs")
        picture = tmp_path / "asset.png"
        assert demo.screenshot(dagster, "/assets/model", picture, chromium())
        assert picture.stat().st_size > 20_000
        demo.challenge(dagster, repo, lines.append)
        assert {alias: repo.version(f"digits-model:{alias}").version for alias in ("champion", "challenger")} == {
            "champion": "v0", "challenger": "v1",
        }  # fmt: skip
        compared = repo.version("comparison")
        assert compared.load()["challenger"] < 0.9 < compared.load()["champion"]
        uses = {edge.role: (edge.version.artifact, edge.version.number) for edge in compared.logged_by().uses()}
        assert uses == {"one": ("digits-model", 0), "two": ("digits-model", 1), "exam": ("exam", 0)}


PROJECT = {
    "pyproject.toml": """
[project]
name = "lake"
version = "0.1.0"
requires-python = ">=3.11"
[tool.dg]
directory_type = "project"
[tool.dg.project]
root_module = "lake"
""",
    "src/lake/__init__.py": "",
    "src/lake/definitions.py": """
from pathlib import Path
from dagster import definitions, load_from_defs_folder

@definitions
def defs():
    return load_from_defs_folder(path_within_project=Path(__file__).parent)
""",
    "src/lake/defs/__init__.py": "",
    "src/lake/defs/headwater/defs.yaml": """
type: dagster_headwater.components.HeadwaterComponent
attributes:
  url: "{{ env.HEADWATER_URL }}"
  project: lake
  artifacts:
    - {name: images, group_name: vision}
    - {name: churn, alias: prod, key: churn/champion}
""",
    "src/lake/defs/assets.py": """
import dagster as dg

@dg.asset
def index(images: str) -> str:
    return images + "!"
""",
}


def test_dg_checks_lists_and_launches_a_project_with_the_component(tmp_path, url):
    for name, text in PROJECT.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "home").mkdir()
    with hw.connect(url, project="lake") as repo:
        with repo.start_run("elsewhere") as run:
            run.log_artifact("x", "images")
        environment = {
            **os.environ, "HEADWATER_URL": url, "PYTHONPATH": os.pathsep.join([str(tmp_path / "src"), *sys.path]),
            "DAGSTER_HOME": str(tmp_path / "home"), "DG_CLI_NO_UPDATE": "1",
        }  # fmt: skip

        def dg(*words: str) -> str:
            done = subprocess.run(
                [Path(sys.executable).with_name("dg"), *words], cwd=tmp_path, env=environment, capture_output=True,
                text=True, timeout=180,
            )  # fmt: skip
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout + done.stderr

        dg("check", "yaml")
        dg("check", "defs")
        listed = dg("list", "defs", "--json")
        assert "churn/champion" in listed
        assert "headwater_versions" in listed
        assert "HeadwaterComponent" in dg("list", "components")
        dg("launch", "--assets", "index")
        assert repo.version("index").load() == "x!"
        assert [str(v) for v in repo.version("index").logged_by().used_artifacts()] == ["lake/images:v0"]
