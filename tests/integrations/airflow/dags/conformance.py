"""The conformance pipelines as DAGs for a real Airflow (which looks only into files with these two words)."""

from tests.integrations.airflow.shapes import NAMES, build

for name in NAMES:
    globals()[name] = build(name)
