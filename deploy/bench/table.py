"""A run as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from deploy.bench.contenders import OURS
from deploy.bench.floors import verdicts
from deploy.bench.results import Run, figures, ratio


def markdown(run: Run, title: str, chart: str) -> str:
    """Return the whole page; `chart` is the name of the picture beside it."""
    lines = [f"# {title}", "", f"![requests per second]({chart})", "", *_facts(run)]
    for work in run.works():
        lines += ["", f"## {work}", "", *_figures(run, work), "", *_ratios(run, work)]
    judged = list(verdicts(run))
    if judged:
        lines += ["", "## Promises", ""]
        lines += [f"- {'holds' if verdict.holds else '**does not hold**'}: {verdict.sentence}" for verdict in judged]
    if run.failures:
        lines += ["", "## Left out", "", *(f"- {failure}" for failure in run.failures)]
    return "\n".join(lines) + "\n"


def _facts(run: Run) -> Iterator[str]:
    machine = run.machine
    yield (
        f"{run.date}; {machine.cores} cores of {machine.processor}, {machine.memory} GiB, {machine.system}, Linux "
        f"{machine.kernel}, Python {machine.python}; load: wrk {machine.wrk} on the same cores; "
        f"medians over the rounds ({run.rounds}), {run.seconds} s for each figure. "
        "How to read it: [README.md](README.md)."
    )
    shares = sorted(cell.foreign for cell in run.cells)
    if shares:
        yield ""
        yield (
            f"Other programs took {shares[len(shares) // 2]:.0%} of the cores during the median cell, "
            f"{shares[-1]:.0%} during the worst."
        )
    yield ""
    yield from (f"- {run.labels[key]}: {version}" for key, version in run.versions.items())


def _figures(run: Run, work: str) -> Iterator[str]:
    columns = [f"{connections} conn." for connections in run.connections()]
    yield "Each cell: **req/s**, p50/p99 in ms, CPU in ms per request of the whole process tree."
    yield ""
    yield f"| server | start, s | PSS (RSS), MiB | {' | '.join(columns)} | errors | spread |"
    yield "|---" * (5 + len(columns)) + "|"
    for key in run.contenders(work):
        starts = run.select_starts(work, key)
        cells = [figures(some) for connections in run.connections() if (some := run.select(work, key, connections))]
        yield " | ".join(
            [
                f"| {run.labels[key]}",
                *_start_columns([(start.cold_start, start.pss, start.rss) for start in starts]),
                *(f"**{c.requests_per_second:,.0f}**, {c.p50:.2f}/{c.p99:.1f}, {c.cpu:.3f}" for c in cells),
                f"{sum(cell.errors for cell in cells)}",
                f"{max(cell.spread for cell in cells):.0%} |",
            ]
        )


def _start_columns(starts: list[tuple[float, float, float]]) -> list[str]:
    if not starts:
        return ["?", "?"]
    seconds, pss, rss = (statistics.median(values) for values in zip(*starts, strict=True))
    return [f"{seconds:.2f}", f"{pss:.0f} ({rss:.0f})"]


def _ratios(run: Run, work: str) -> Iterator[str]:
    others = [key for key in run.contenders(work) if key != OURS]
    if not others or OURS not in run.contenders(work):
        return
    connections = run.connections()
    yield "InferenceHub divided by the other, round by round: req/s (more is better) and p50 (less is better)."
    yield ""
    yield f"| other | {' | '.join(f'{n} conn.: req/s, p50' for n in connections)} |"
    yield "|---" * (1 + len(connections)) + "|"
    for key in others:
        columns = [_ratio_column(run, work, key, number) for number in connections]
        yield f"| {run.labels[key]} | {' | '.join(columns)} |"


def _ratio_column(run: Run, work: str, key: str, connections: int) -> str:
    ours, theirs = run.select(work, OURS, connections), run.select(work, key, connections)
    rate = ratio(ours, theirs, lambda cell: cell.requests_per_second, max)
    latency = ratio(ours, theirs, lambda cell: cell.p50, min)
    return f"**{rate:.2f}**, {latency:.2f}"
