"""Pictures of digits, month by month: partitioned assets, a check that promotes, champion and challenger.

    dagster dev -f definitions.py        (or `make demo-dagster`, which drives it and shows what happened)

No line of the assets mentions Headwater. The repository is $HEADWATER_URL, else ~/.headwater.
"""

import dagster as dg
import numpy as np
import pandas as pd
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from dagster_headwater import (
    HeadwaterIOManager,
    HeadwaterResource,
    build_headwater_run_sync_sensor,
    build_headwater_version_sensor,
    headwater_asset_spec,
    headwater_metadata,
)

MONTHS = dg.StaticPartitionsDefinition(["2026-01", "2026-02"])
labels = headwater_asset_spec("corrected-labels", group_name="made_elsewhere")
champion = headwater_asset_spec("digits-model", alias="champion", group_name="serving")
challenger = headwater_asset_spec("digits-model", alias="challenger", group_name="serving")


@dg.asset(partitions_def=MONTHS, group_name="training")
def pictures(context: dg.AssetExecutionContext) -> pd.DataFrame:
    """A third of the pictures each month: one artifact, one partition of it a month."""
    return third(MONTHS.get_partition_keys().index(context.partition_key))


@dg.asset(group_name="training")
def exam() -> pd.DataFrame:
    """The last third, which no model is trained on."""
    return third(2)


def third(number: int) -> pd.DataFrame:
    digits = load_digits()
    frame = pd.DataFrame(digits.data[number::3].astype("uint8"), columns=[f"p{i}" for i in range(64)])
    return frame.assign(label=digits.target[number::3], id=np.arange(number, len(digits.target), 3))


@dg.asset(
    group_name="training",
    ins={
        "pictures": dg.AssetIn(metadata=headwater_metadata(always_dict=True, allow_missing_partitions=True)),
        "corrected_labels": dg.AssetIn(labels.key),
    },
)
def training_data(pictures: dict[str, pd.DataFrame], corrected_labels: pd.DataFrame) -> pd.DataFrame:
    """All months there are, with the labels that people have corrected elsewhere."""
    frame = pd.concat(pictures.values()).set_index("id")
    fixed = corrected_labels.set_index("id")["label"]
    frame.loc[fixed.index.intersection(frame.index), "label"] = fixed
    return frame.reset_index()


@dg.asset(
    group_name="training",
    metadata=headwater_metadata(artifact="digits-model", type="model", aliases=["challenger"]),
)
def model(training_data: pd.DataFrame) -> dict:
    """A model as plain numbers; every new one is the challenger."""
    data = training_data.drop(columns=["label", "id"]).to_numpy() / 16
    fitted = LogisticRegression(max_iter=60).fit(data, training_data["label"])
    return {"weights": fitted.coef_.round(6).tolist(), "bias": fitted.intercept_.round(6).tolist()}


def accuracy(model: dict, frame: pd.DataFrame) -> float:
    data = frame.drop(columns=["label", "id"]).to_numpy() / 16
    guesses = (data @ np.array(model["weights"]).T + np.array(model["bias"])).argmax(axis=1)
    return float((guesses == frame["label"]).mean())


@dg.asset_check(asset=model, additional_ins={"exam": dg.AssetIn()})
def good_enough(
    context: dg.AssetCheckExecutionContext, model: dict, exam: pd.DataFrame, headwater: HeadwaterResource
) -> dg.AssetCheckResult:
    """Promotes exactly the version it has looked at."""
    score = accuracy(model, exam)
    if score > 0.9:
        headwater.promote(context, "digits-model", to="champion")
    return dg.AssetCheckResult(passed=score > 0.9, metadata={"accuracy": score})


CHANGED = dg.AutomationCondition.any_deps_match(dg.AutomationCondition.data_version_changed())


@dg.asset(
    group_name="serving",
    automation_condition=CHANGED & ~dg.AutomationCondition.any_deps_missing() & ~dg.AutomationCondition.in_progress(),
    ins={"one": dg.AssetIn(champion.key), "two": dg.AssetIn(challenger.key)},
)
def comparison(one: dict, two: dict, exam: pd.DataFrame) -> dict[str, float]:
    """Champion against challenger: two aliases of one artifact, two inputs."""
    return {"champion": round(accuracy(one, exam), 3), "challenger": round(accuracy(two, exam), 3)}


train = dg.define_asset_job("train", selection=dg.AssetSelection.assets("training_data", "model"))
headwater = HeadwaterResource(project="digits")
defs = dg.Definitions(
    assets=[labels, champion, challenger, pictures, exam, training_data, model, comparison],
    asset_checks=[good_enough],
    jobs=[train],
    sensors=[
        build_headwater_version_sensor([labels], job=train, minimum_interval_seconds=1,
                                       default_status=dg.DefaultSensorStatus.RUNNING),
        build_headwater_version_sensor([champion, challenger], name="models_moved", minimum_interval_seconds=2,
                                       default_status=dg.DefaultSensorStatus.RUNNING),
        build_headwater_run_sync_sensor(),
        dg.AutomationConditionSensorDefinition("automation", target="*", minimum_interval_seconds=3,
                                               default_status=dg.DefaultSensorStatus.RUNNING),
    ],
    executor=dg.in_process_executor,  # steps of a second need no process each
    resources={"headwater": headwater, "io_manager": HeadwaterIOManager(headwater=headwater)},
)  # fmt: skip
