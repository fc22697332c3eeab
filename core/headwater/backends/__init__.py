"""One file per outside system: its client, its object store, its source, its errors made ours."""
