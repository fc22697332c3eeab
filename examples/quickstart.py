"""Files in, a version out; a change; what it was made from; going back."""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path

import headwater as hw

work = Path(tempfile.mkdtemp())
hw.configure(url=str(work / "repository"), project="weather")

stations = work / "stations"
stations.mkdir()
for name, degrees in {"north": [3, 5, 4], "south": [21, 19, 23]}.items():
    (stations / f"{name}.csv").write_text("degrees\n" + "\n".join(map(str, degrees)) + "\n")


@hw.step(log="stations")
def collect(folder: Path) -> Path:
    return folder  # a folder, a file, a DataFrame, a dict: whatever a codec knows


@hw.step(log=hw.Log("means", type="metrics", aliases=["candidate"]))
def average(readings: Path = hw.Use("stations")) -> dict[str, float]:
    means = {}
    for path in sorted(readings.glob("*.csv")):
        degrees = [float(row["degrees"]) for row in csv.DictReader(path.open())]
        means[path.stem] = sum(degrees) / len(degrees)
    return means


collect(stations)
first = average()
print(first.name, first.version, first.load())

# a thermometer was read wrongly: correct it, and run again
(stations / "north.csv").write_text("degrees\n3\n5\n7\n")
changed = collect(stations)
second = average()
print(second.name, second.version, second.load())

# what changed, and what was it made from?
for old, new in changed.diff("stations:v0").changed:
    print("changed:", new.path, old.size, "bytes →", new.size, "bytes")
print("made from:", ", ".join(f"{v.artifact}:v{v.number}" for v in second.upstream().versions.values()))

# the stations as they were
before = hw.connect().version("stations:v0").fetch(root=work / "as-it-was")
print(sorted(path.name for path in before.path.iterdir()))
