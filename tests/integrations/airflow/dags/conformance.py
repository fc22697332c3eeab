"""The conformance pipelines; the word airflow makes Airflow look into this file."""

from tests.integrations.airflow.shapes import NAMES, build

for name in NAMES:
    globals()[name] = build(name)
