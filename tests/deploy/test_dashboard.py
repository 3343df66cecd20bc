"""The committed dashboard is the one that is declared, and a Grafana can load it."""

from __future__ import annotations

import json

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client import CollectorRegistry, generate_latest

from deploy.dashboard import FILE, text
from otel.metrics import ControllerMetrics, GatewayMetrics, StoreMetrics, WorkerMetrics
from tests.otel.expressions import alert_expressions, dashboard_expressions, names

WIDTH = 24


def test_the_committed_file_is_what_is_declared() -> None:
    """Whoever changes deploy/dashboard.py commits what it writes."""
    assert FILE.read_text() == text()


def test_grafanas_own_types_read_it() -> None:
    """Read by the types of Grafana's schema and written again it is the same: no key is unknown to them."""
    document = json.loads(FILE.read_text())
    again = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(document)))
    assert again == document


def test_panels_have_places_and_numbers_of_their_own() -> None:
    """Ids are unique, panels are within the width and overlap no other, and none names a data source of one Grafana."""
    document = json.loads(FILE.read_text())
    panels = document["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 16
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        own = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert place["x"] + place["w"] <= WIDTH
        assert not own & cells
        cells |= own
    assert {panel["datasource"]["uid"] for panel in panels if panel["type"] != "row"} == {"${source}"}


def test_every_expression_asks_for_metrics_that_are_declared() -> None:
    """Alerts and dashboard are PromQL and name only what otel/metrics.py declares."""
    registry = CollectorRegistry()
    for declare in (WorkerMetrics, GatewayMetrics, StoreMetrics, ControllerMetrics):
        declare(registry)
    declared = {
        line.split()[2] for line in generate_latest(registry).decode().splitlines() if line.startswith("# TYPE")
    }
    parts = {f"{name}{part}" for name in declared for part in ("", "_bucket", "_sum", "_count")}
    expressions = [*alert_expressions(), *dashboard_expressions()]
    asked = {name for expression in expressions for name in names(expression)}
    assert len(expressions) > 24
    assert asked - parts == {"up"}
