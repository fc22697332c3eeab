"""Point at data that stays where it is: a public file on the web, and a folder on a file share."""

from __future__ import annotations

import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import headwater as hw


class Quiet(SimpleHTTPRequestHandler):
    """A web server that prints nothing."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


with tempfile.TemporaryDirectory() as place:
    share, public = Path(place, "share"), Path(place, "public")  # somebody else's: we only read
    for folder in (share, public):
        folder.mkdir()
    (share / "readings #1.csv").write_text("hour,degrees\n0,11.5\n")
    (public / "stations.csv").write_text("id,name\n7,Harbour\n")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=public))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/stations.csv"

    repo = hw.connect(Path(place, "repository"))
    with repo.start_run("track", project="weather") as run:
        data = hw.Artifact("readings", type="dataset")
        data.add_reference(share.as_uri(), name="share")
        data.add_reference(url, pin="digest")  # this server tells no ETag: read it once, prove it ever after
        version = run.log_artifact(data)
    for entry in version.entries():
        print(f"{entry.path}: {entry.pin.strength}, at {entry.uri.rpartition('/')[2]}")

    folder = version.download(Path(place, "mine"))
    print((folder / "stations.csv").read_text(), end="")

    (public / "stations.csv").write_text("id,name\n7,Airport\n")
    try:
        with version.open("stations.csv") as file:  # asks the server; a download would give the copy kept here
            print(file.read().decode())
    except hw.ReferenceChangedError as error:
        print("changed since it was logged:", error.facts["uri"].rpartition("/")[2])
    server.shutdown()
