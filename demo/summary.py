"""The last screen: what was walked, what the report says, and what to try next."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.panel import Panel
from rich.table import Table

from .home import Home
from .road.change_to_index import NEVER_FRESH, Arrived
from .road.logs_to_decision import Report
from .road.query_to_exposure import Served
from .telling import Telling

# What a person asks first; the page has the rest.
SHOWN_METRICS = ("ctr", "revenue_per_shopper", "orders_per_shopper")


def tell_searches(served: Served, telling: Telling) -> None:
    """What the four weeks amounted to."""
    summary = served.summary
    telling.say(
        f"{summary.searches:,} searches, {summary.clicks:,} clicks, {summary.orders:,} orders, "
        f"{summary.revenue:,.0f} {summary.currency}"
    )
    telling.say(
        f"{served.treated:,} searches asked UniECS, whose answer came too late for {served.degraded:,}; "
        f"{served.lost_events:,} events were lost"
    )


def tell_summary(
    home: Home, served: Served, arrived: Sequence[Arrived], report: Report, telling: Telling
) -> None:
    """The estimate beside the truth, freshness, the verdict, and where the page is."""
    numbers = report.numbers
    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in ("", "without", "with UniECS", "lift", "95% interval", "planted"):
        table.add_column(name, justify="right" if name else "left")
    for row in numbers["comparisons"]:
        if row["metric"] in SHOWN_METRICS:
            table.add_row(*_cells(row))
    console = telling.console
    console.print()
    console.print(Panel(table, title="what four simulated weeks earned", title_align="left", expand=False))
    verdict = numbers["verdict"]
    ratio = numbers["sample_ratio"]
    console.print(f"verdict        {verdict['headline']}", markup=False)
    ratio_said = "as planned" if ratio["ok"] else "OFF: no winner may be named"
    console.print(f"sample ratio   {ratio_said} (p = {ratio['p_value']:.2f})")
    late = [figure for one in arrived if one.label not in NEVER_FRESH for figure in one.freshness_ms]
    taken = sum(one.right for one in arrived)
    console.print(
        f"changes        {taken} of {sum(one.sent for one in arrived)} as they must be, {_freshness(late)}"
    )
    console.print(f"took           {telling.took_s:.0f} s; everything that was started has been stopped")
    console.print(f"report         {report.page.resolve()}", soft_wrap=True, markup=False)
    example = (
        "striped red mug"
        if home.is_rendered
        else next(wish.text for wish in served.world.wishes if wish.text)
    )
    setting = "" if str(home.folder) == ".demo" else f"MILVUS_URI={home.index} "
    console.print(
        f'try            {setting}.venv/bin/python -m product_index search "{example}" --limit 10',
        markup=False,
    )


def _cells(row: Mapping[str, Any]) -> list[str]:
    is_rate = row["shown_as"] == "percent"
    plain = "{:.1%}" if is_rate else "{:.2f}"
    interval = "-"
    if row["lift_low"] is not None and row["lift_high"] is not None:
        interval = f"{row['lift_low']:+.1%} to {row['lift_high']:+.1%}"
    return [
        row["title"],
        plain.format(row["control_value"]),
        plain.format(row["treatment_value"]),
        "-" if row["lift"] is None else f"{row['lift']:+.1%}",
        interval,
        "-" if row["truth"] is None else f"{row['truth']:+.1%}",
    ]


def _freshness(figures: Sequence[int]) -> str:
    from streaming.freshness import percentile

    if not figures:
        return "none"
    return f"searchable after p50 {percentile(figures, 0.5)} ms, p99 {percentile(figures, 0.99)} ms"
