"""The first words and the last screen: what is walked, what the report says, and what to try next."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from .home import DEFAULT_HOME, Home
from .road.change_to_index import NEVER_FRESH, Arrived
from .road.logs_to_decision import Report
from .road.query_to_exposure import Served
from .telling import Telling

# What a person asks first; the page has the rest.
SHOWN_METRICS = ("ctr", "revenue_per_shopper", "orders_per_shopper")


def tell_beginning(home: Home, telling: Telling) -> None:
    """What will happen, where, and how to stop it."""
    what = "a rendered shop" if home.is_rendered else str(home.catalogue)
    telling.say(
        f"The whole road once, on {what}: products become a searchable index, changes arrive in it, "
        "shoppers search with and without UniECS, and a report says what that earned.",
        indent="",
        hanging=0,
    )
    telling.say(
        f"A few minutes; everything it writes is in {home.folder}, nothing listens beyond this machine, "
        "Ctrl-C stops it all.",
        indent="",
        hanging=0,
    )


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
    for name in ("", "without", "with UniECS", "lift", "95% interval", "true lift"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for row in numbers["comparisons"]:
        if row["metric"] in SHOWN_METRICS:
            table.add_row(*_cells(row))
    telling.console.print("\n[bold]What four simulated weeks earned[/]\n")
    telling.console.print(table)
    telling.console.print()
    telling.say(
        "lift: what the report estimates, from half the shoppers without and half with; true lift: what the "
        "simulator knows, because it can serve both to everybody.",
        indent="",
        hanging=0,
    )
    telling.console.print()
    for name, told in _facts(home, served, arrived, report, telling):
        telling.say(f"{name:<15}{told}", indent="", hanging=15)
    telling.say(f"{'report':<15}{report.page}", indent="", hanging=None)
    text = example(home, served)
    if text is not None:
        where = "" if home.folder == DEFAULT_HOME else f"MILVUS_URI={home.index} "
        command = f"{where}.venv/bin/python -m product_index search {shlex.quote(text)}"
        telling.say(f"{'try':<15}{command}", indent="", hanging=None)


def _facts(
    home: Home, served: Served, arrived: Sequence[Arrived], report: Report, telling: Telling
) -> Iterator[tuple[str, str]]:
    numbers = report.numbers
    ratio = numbers["sample_ratio"]
    yield "verdict", numbers["verdict"]["headline"]
    yield (
        "sample ratio",
        f"{'as planned' if ratio['ok'] else 'OFF, no winner may be named'} (p = {ratio['p_value']:.2f})",
    )
    late = [figure for one in arrived if one.label not in NEVER_FRESH for figure in one.freshness_ms]
    sent, right = sum(one.sent for one in arrived), sum(one.right for one in arrived)
    yield "changes", f"{right} of {sent} are in the index as they must be, {_freshness(late)}"
    yield "took", f"{telling.took_s:.0f} s; everything that was started has been stopped"


def example(home: Home, served: Served) -> str | None:
    """Something to ask for: of the rendered shop, or of a catalogue that we have never seen."""
    if home.is_rendered:
        return "striped red mug"
    return next((wish.text for wish in served.world.wishes if wish.text), None)


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
