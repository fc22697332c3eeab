"""The code of docs/dagster.md is run as it stands there, one block after another."""

import re
from pathlib import Path

import dagster as dg
import pandas as pd
import yaml

import dagster_headwater
import headwater as hw
from dagster_headwater.components import ExternalArtifact, HeadwaterComponent
from dagster_headwater.naming import WORDS, HeadwaterInputConfig, HeadwaterOutputConfig

PAGE = (Path(__file__).parents[3] / "docs" / "dagster.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@dg.asset
def model() -> dict: ...


def test_the_code_of_the_page_runs(monkeypatch, url, tmp_path):
    monkeypatch.setenv("HEADWATER_URL", url)
    old = {"io_manager": dg.FilesystemIOManager(base_dir=str(tmp_path / "files"))}
    kept = dg.asset(name="kept")(lambda: pd.DataFrame({"a": [1]}))
    names = {name: getattr(dagster_headwater, name) for name in dagster_headwater.__all__}
    names |= {"hw": hw, "model": model, "train": dg.define_asset_job("train"),
              "old_defs": dg.Definitions(assets=[kept], resources=old)}  # fmt: skip
    with dg.instance_for_test() as instance:
        dg.materialize([kept], resources=old, instance=instance)
        for block in blocks("python"):
            exec(compile(block, "docs/dagster.md", "exec"), names)
    assert isinstance(names["defs"], dg.Definitions)
    assert isinstance(names["sensor"], dg.SensorDefinition)
    with hw.connect(url, project="demo") as repo:
        assert repo.version("kept").load().equals(pd.DataFrame({"a": [1]}))


def test_the_configuration_of_the_page_is_known():
    launch, component = blocks("yaml")
    [(name, chosen)] = yaml.safe_load(launch)["ops"]["scores"]["inputs"].items()
    assert name == "model"
    assert HeadwaterInputConfig(**chosen).version == "v7"
    given = yaml.safe_load(component)
    assert given["type"] == f"{HeadwaterComponent.__module__}.HeadwaterComponent"
    assert given["attributes"].keys() <= HeadwaterComponent.model_fields.keys()
    assert {key for one in given["attributes"]["artifacts"] for key in one} <= ExternalArtifact.model_fields.keys()
    inline = re.search(r"`ops: \{model: \{outputs: \{result: (\{.*?\})\}\}\}`", PAGE)[1]
    assert HeadwaterOutputConfig(**yaml.safe_load(inline)).aliases == ["candidate"]


def test_every_word_and_export_the_page_names_exists():
    used = {word for call in re.findall(r"headwater_metadata\((.*?)\)", PAGE) for word in re.findall(r"(\w+)=", call)}
    assert used <= set(WORDS)
    assert used
    for name in set(re.findall(r"\b(?:build|load)_headwater_\w+|\bHeadwater(?:IOManager|Resource)\b", PAGE)):
        assert name in dagster_headwater.__all__
