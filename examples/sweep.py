"""Twenty runs, then "the model of the best run" in one call."""

from __future__ import annotations

import tempfile
from pathlib import Path

import headwater as hw

hw.configure(url=str(Path(tempfile.mkdtemp()) / "repository"), project="sweep")


@hw.step(log=hw.Log("curve", type="model"))
def fit(rate: float) -> dict[str, float]:
    score = 1 - (rate - 0.37) ** 2
    hw.current_run().summary["score"] = score
    return {"rate": rate, "score": score}


for tenth in range(20):
    fit(tenth / 20)

best = hw.connect().runs(where=["summary.score>0.5"], order="-summary.score", limit=1)[0]
model = best.logged_artifacts()[0]
print(f"{model.name}:{model.version}", model.load())
