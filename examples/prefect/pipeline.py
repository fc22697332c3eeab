"""The demo's pipeline as a Prefect flow: digits in, three models fitted beside each other, the best one promoted."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from prefect import flow
from sklearn.linear_model import LogisticRegression

import headwater as hw
from headwater import Version
from headwater.demo.pictures import as_matrix, read_digits
from prefect_headwater import batch, step, track

Weights = np.ndarray[Any, np.dtype[np.float64]]


@step(log=("training", "testing"), retries=1)
def split(digits: Version[Path]) -> tuple[Path, Path]:
    """Deal the pictures out, a quarter of them for testing."""
    sides = hw.scratch() / "training", hw.scratch() / "testing"
    pictures = digits.download()
    for path in sorted(pictures.rglob("*.png")):
        target = sides[crc32(path.name.encode()) % 4 == 0] / path.relative_to(pictures)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return sides


@step(log=hw.Log("classifier", type="model"))
def train(images: Path, strength: float) -> Weights:
    """Fit a linear classifier; one column of weights for each digit."""
    pictures, shows = read_digits(images)
    fitted = LogisticRegression(C=strength, max_iter=300).fit(as_matrix(pictures), shows)
    return np.vstack([fitted.coef_.T, fitted.intercept_])


@step
def score(model: Weights, images: Path) -> float:
    """How often it is right about pictures it has not seen."""
    pictures, shows = read_digits(images)
    right = (as_matrix(pictures) @ model[:-1] + model[-1]).argmax(axis=1) == shows
    hw.current_run().summary["accuracy"] = float(right.mean())
    return float(right.mean())


@step(log=hw.Log("best-classifier", type="model", aliases=["prod"]))
def promote(models: list[Version[Weights]], scores: list[float]) -> Version[Weights]:
    """Point `best-classifier:prod` at the best of them; no bytes are moved."""
    return models[scores.index(max(scores))]


@track
@flow
def digits_pipeline(digits: Version[Path] = hw.Use("digits")) -> str:
    """Everything is published together, or nothing."""
    with batch():
        training, testing = split(digits)
        models = train.map(training, [0.001, 0.01, 0.1]).result()
        scores = score.map(models, [testing] * len(models)).result()
        best = promote(models, scores)
    return str(best.reload())
