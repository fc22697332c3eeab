"""The pipeline of the demo, as its user would write it: four functions that say what they read and make.

`hw.Use` names an input, `hw.Log` an output. Headwater brings the input as the
annotated type, versions the result, and remembers which run did it.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from sklearn.linear_model import LogisticRegression

import headwater as hw
from headwater.demo.pictures import as_matrix, read_digits

Weights = np.ndarray[Any, np.dtype[np.float64]]


@hw.step(log=hw.Log("digits", type="dataset"))
def prepare(folder: Path) -> Path:
    """Take in the scanned pictures as they are."""
    return folder


@hw.step(log=("training", "testing"))
def split(digits: Path = hw.Use("digits")) -> tuple[Path, Path]:
    """Deal the pictures out, a quarter of them for testing; the same picture always goes to the same side."""
    sides = hw.scratch() / "training", hw.scratch() / "testing"
    for path in sorted(digits.rglob("*.png")):
        target = sides[crc32(path.name.encode()) % 4 == 0] / path.relative_to(digits)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return sides


@hw.step(log=hw.Log("classifier", type="model", aliases=["candidate"]))
def train(images: Path = hw.Use("training"), strength: float = 0.1) -> Weights:
    """Fit a linear classifier; the model is its weights, one column for each digit."""
    pictures, shows = read_digits(images)
    fitted = LogisticRegression(C=strength, max_iter=500).fit(as_matrix(pictures), shows)
    return np.vstack([fitted.coef_.T, fitted.intercept_])


@hw.step(log=hw.Log("scores", type="metrics"))
def evaluate(model: Weights = hw.Use("classifier"), images: Path = hw.Use("testing")) -> dict[str, float]:
    """How often it is right about pictures it has not seen, and how sure it is."""
    pictures, shows = read_digits(images)
    raw = as_matrix(pictures) @ model[:-1] + model[-1]
    odds = np.exp(raw - raw.max(axis=1, keepdims=True))
    sure = (odds / odds.sum(axis=1, keepdims=True))[np.arange(len(shows)), shows]
    scores = {"accuracy": float((raw.argmax(axis=1) == shows).mean()), "certainty": float(sure.mean())}
    hw.current_run().summary.update(scores)
    return scores
