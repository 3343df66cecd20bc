"""The metrics that alerts and dashboard ask for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import promql_parser

from inference_core.settings import CHECKOUT

DASHBOARD = CHECKOUT / "otel" / "grafana.json"
ALERTS = CHECKOUT / "otel" / "alerts.yml"
NAME = re.compile(r"[a-z_:][a-z0-9_:]*")
INDENT = " " * 8


def dashboard_expressions() -> list[str]:
    """Return the dashboard's expressions with Grafana's own variables filled in."""
    panels: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    found = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    return [one.replace("$__rate_interval", "5m").replace("$model", ".+") for one in found]


def alert_expressions() -> list[str]:
    """Return the expressions of the alert rules."""
    text = ALERTS.read_text()
    found = re.findall(rf"\n{INDENT}expr: (?:\|\n((?:{INDENT}  .*\n)+)|(.*)\n)", text)
    return [(block or line).strip() for block, line in found]


def names(expression: str) -> set[str]:
    """Return the names of the metrics in an expression; raises ValueError for one that is no PromQL."""
    promql_parser.parse(expression)
    without_strings = re.sub(r'"[^"]*"', "", expression)
    return set(_metrics(without_strings))


def _metrics(text: str) -> Iterator[str]:
    yield from (word for word in NAME.findall(text) if word.startswith("inferencehub_") or word == "up")
