"""The same verbs in a script or notebook: open a run, use versions, log versions."""

from __future__ import annotations

import tempfile
from pathlib import Path

import headwater as hw

work = Path(tempfile.mkdtemp())
repo = hw.connect(work / "repository", project="vision")

with repo.start_run("import") as run:
    images = hw.Artifact("mnist", type="dataset", metadata={"licence": "CC0"})
    images.add_bytes(b"...pixels...", name="0/first.png")
    run.log_artifact(images)

with repo.start_run("train", config={"rate": 0.1}) as run:
    data = run.use_artifact("mnist:latest")
    folder = data.download()  # verified, read-only, shared by everybody on this machine
    model = hw.Artifact("cnn", type="model", metadata={"layers": 3})
    with model.new_file("weights.txt") as file:
        file.write(f"trained on {sum(1 for path in folder.rglob('*.png'))} image(s)\n")
    version = run.log_artifact(model, aliases=["candidate"])
    run.summary["val_acc"] = 0.93

version.aliases.append("prod")
version.metadata["reviewed"] = True
version.save()  # sends what changed, or raises ConflictError if somebody else changed it meanwhile

cnn = repo.version("cnn:prod")
print(cnn.name, cnn.version, sorted(cnn.aliases), cnn.metadata)
print("logged by", cnn.logged_by().name, "from", [v.name for v in cnn.logged_by().used_artifacts()])
