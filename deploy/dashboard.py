"""`python -m deploy.dashboard`: write otel/grafana.json, the Grafana dashboard, from what is declared here.

Needs grafana-foundation-sdk, which comes with the tools for development; the JSON is committed, and a test compares it.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common, dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import TooltipDisplayMode
from grafana_foundation_sdk.models.dashboard import DataSourceRef

from inference_core.settings import CHECKOUT

FILE = CHECKOUT / "otel" / "grafana.json"
MODELS, RATE = 'model=~"$model"', "[$__rate_interval]"
SECONDS, ROWS, PER_SECOND, BYTES, SHARE, NUMBER = "s", "short", "ops", "bytes", "percentunit", "short"
HALF, HEIGHT = 12, 8


@dataclass(frozen=True)
class Chart:
    """A title, the unit of its axis, and its expressions by legend."""

    title: str
    unit: str
    lines: Mapping[str, str]


def _quantiles(metric: str) -> Mapping[str, str]:
    buckets = f"sum by (le, model) (rate(inferencehub_gateway_{metric}_seconds_bucket{{{MODELS}}}{RATE}))"
    return {
        f"p{percent} {{{{model}}}}": f"histogram_quantile({percent / 100:g}, {buckets})" for percent in (50, 95, 99)
    }


def _mean(metric: str) -> str:
    sums = f"sum(rate(inferencehub_gateway_{metric}_seconds_sum{{{MODELS}}}{RATE}))"
    return f"{sums} / sum(rate(inferencehub_gateway_{metric}_seconds_count{{{MODELS}}}{RATE}))"


def _rate(metric: str, labels: str, condition: str = "") -> str:
    return f"sum by ({labels}) (rate(inferencehub_{metric}{{{condition}}}{RATE}))"


STAGES = {stage: stage.replace(" ", "_") for stage in ("receive", "queue", "hop", "worker queue", "compute", "respond")}
SPANS = "sum by (outcome) (rate(inferencehub_{program}_spans_total" + RATE + "))"

ROWS_OF_CHARTS: Mapping[str, Sequence[Chart]] = {
    "Requests": (
        Chart("Requests by status", PER_SECOND, {"{{code}}": _rate("gateway_requests_total", "code", MODELS)}),
        Chart("Latency", SECONDS, _quantiles("request")),
        Chart("Where the time goes, on average", SECONDS, {stage: _mean(name) for stage, name in STAGES.items()}),
        Chart("Refused, by reason", PER_SECOND, {"{{reason}}": _rate("gateway_refusals_total", "reason", MODELS)}),
    ),
    "Batches and queues": (
        Chart(
            "Rows of a batch, on average",
            ROWS,
            {
                "gateway {{model}}": f"{_rate('gateway_batch_rows_sum', 'model', MODELS)} / "
                f"{_rate('gateway_batch_rows_count', 'model', MODELS)}",
                "worker {{model}}": f"{_rate('worker_rows_total', 'model', MODELS)} / "
                f"{_rate('worker_batches_total', 'model', MODELS)}",
            },
        ),
        Chart(
            "Rows that wait",
            ROWS,
            {
                "gateway {{model}}": f"sum by (model) (inferencehub_gateway_queue_rows{{{MODELS}}})",
                "worker {{model}}": f"sum by (model) (inferencehub_worker_queue_rows{{{MODELS}}})",
            },
        ),
        Chart(
            "Batches at workers",
            NUMBER,
            {"{{model}}": f"sum by (model) (inferencehub_gateway_batches_in_flight{{{MODELS}}})"},
        ),
        Chart("Requests sent again", PER_SECOND, {"{{model}}": _rate("gateway_replays_total", "model", MODELS)}),
    ),
    "Processes": (
        Chart(
            "Ends, by cause", PER_SECOND, {"{{process}} {{cause}}": _rate("controller_exits_total", "process, cause")}
        ),
        Chart("Workers as the gateways see them", NUMBER, {"{{state}}": "sum by (state) (inferencehub_gateway_slots)"}),
        Chart("Memory", BYTES, {"{{process}}": "inferencehub_controller_process_memory_bytes"}),
        Chart("Processors used", NUMBER, {"{{process}}": _rate("controller_process_cpu_seconds_total", "process")}),
    ),
    "Traces": (
        Chart("Traces kept, by why", PER_SECOND, {"{{reason}}": _rate("gateway_traces_kept_total", "reason")}),
        Chart(
            "Spans, by what became of them",
            PER_SECOND,
            {f"{program} {{{{outcome}}}}": SPANS.replace("{program}", program) for program in ("gateway", "worker")},
        ),
        Chart(
            "Trace store: spans",
            PER_SECOND,
            {
                "stored": "sum(rate(inferencehub_tracestore_spans_stored_total" + RATE + "))",
                "dropped {{reason}}": _rate("tracestore_spans_dropped_total", "reason"),
            },
        ),
        Chart("Trace store: size", BYTES, {"in use": "inferencehub_tracestore_bytes"}),
    ),
}


def text() -> str:
    """Return the dashboard as JSON."""
    board = (
        dashboard.Dashboard("InferenceHub")
        .uid("inference-hub")
        .tags(["inference-hub"])
        .time("now-1h", "now")
        .refresh("10s")
        .with_variable(dashboard.DatasourceVariable("source").label("Prometheus").type("prometheus"))
        .with_variable(
            dashboard.QueryVariable("model")
            .label("Model")
            .datasource(_source())
            .query("label_values(inferencehub_gateway_requests_total, model)")
            .include_all(True)  # noqa: FBT003  # the builder's signature
            .multi(True)  # noqa: FBT003  # the same
        )
    )
    numbers = itertools.count(1)
    for title, charts in ROWS_OF_CHARTS.items():
        board = board.with_row(dashboard.Row(title).id(next(numbers)))
        for chart in charts:
            board = board.with_panel(_panel(chart).id(next(numbers)))
    return JSONEncoder(sort_keys=True, indent=1).encode(board.build()) + "\n"


def _panel(chart: Chart) -> timeseries.Panel:
    panel = timeseries.Panel().title(chart.title).unit(chart.unit).datasource(_source()).span(HALF).height(HEIGHT)
    panel = panel.min(0).fill_opacity(10).tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    for number, (legend, expression) in enumerate(chart.lines.items()):
        query = prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(chr(ord("A") + number))
        panel = panel.with_target(query)
    return panel


def _source() -> DataSourceRef:
    # A variable, so that the dashboard works whatever the data source is called there.
    return DataSourceRef("prometheus", "${source}")


def main() -> int:
    """Write the file, or only compare it; return 0, or 1 where the committed file is another."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.dashboard",
        description="Write the Grafana dashboard, otel/grafana.json, from what deploy/dashboard.py declares.",
        epilog="Example: python -m deploy.dashboard --check    (changes nothing; 1 where the file is out of date)",
    )
    parser.add_argument("--check", action="store_true", help="only tell whether the file is up to date")
    if parser.parse_args().check:
        return 0 if FILE.read_text() == text() else 1
    FILE.write_text(text())
    sys.stdout.write(f"Wrote {FILE}.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
