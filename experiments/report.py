"""The weekly page: one HTML file that needs nothing else, and its numbers as JSON.

Poured from a result; adds no number of its own and asks no clock, so the same
result gives the same bytes.
"""

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

from . import plots
from .analysis import Result
from .report_text import as_markdown, as_slack, flat
from .verdict import margin_in_words

_MINUS = "−"


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenReport:
    """Where a report was put."""

    page: Path
    numbers: Path
    markdown: Path
    slack: Path


def to_json(result: Result) -> str:
    """The result as JSON text."""
    return json.dumps(result, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def render(result: Result) -> str:
    """The page."""
    return _environment(result, "report.html").get_template("report.html").render(**_context(result))


def render_markdown(result: Result) -> str:
    """The page as Markdown."""
    return as_markdown(_context(result), _environment(result, "report.md"))


def render_slack(result: Result) -> str:
    """The page as Slack's blocks."""
    currency = result["currency"]
    return as_slack(
        _context(result),
        change=lambda row: _change(row, currency),
        between=lambda row: _between(row, currency),
    )


def _context(result: Result) -> dict[str, Any]:
    main = [row for row in result["comparisons"] if row["treatment"] == result["verdict"]["treatment"]]
    statuses = [check["status"] for check in result["checks"]]
    unread = [part for part in result["interleaving"] if part["verdict"]["word"] == "broken"]
    return result | {
        "rows": main,
        "primaries": [row for row in main if row["role"] == "primary"],
        "revenue": next((row for row in main if row["metric"] == "revenue_per_shopper"), None),
        "scale": plots.common_scale(main),
        "warnings": statuses.count("warn"),
        "failures": statuses.count("fail"),
        "passed": statuses.count("ok"),
        "asked": len(statuses) - statuses.count("none"),
        "trust": "No" if "fail" in statuses else "With care" if "warn" in statuses or unread else "Yes",
        "unread": unread,
        "since": _since(result, main),
        "treatment": result["verdict"]["treatment"],
        "titles": {row["metric"]: row["title"] for row in main},
        "pages": _of_treatment(result, "changed_pages"),
        "via": _of_treatment(result, "channels"),
        "money": _of_treatment(result, "revenue_parts"),
        "ages": _of_treatment(result, "by_age"),
        "kinds": _of_treatment(result, "by_query"),
        "cut": _of_treatment(result, "segments"),
        "cut_scale": plots.scale_of(_of_treatment(result, "segments")["cells"]),
        "contents": _contents(result),
    }


def _since(result: Result, main: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each metric then and now, as rows to be read like those of the main table."""
    found = result["since_last_look"]
    of_metric = {row["metric"]: row for row in main}
    rows = [row for row in found["metrics"] if row["treatment"] == main[0]["treatment"]] if found else []
    names = [f"{what}{{}}{end}" for what in ("lift", "difference") for end in ("", "_low", "_high")]
    shown = []
    for row in rows:
        then, now = (
            of_metric[row["metric"]] | {name.format(""): row[name.format(when)] for name in names}
            for when in ("_before", "_now")
        )
        moved = (
            _signed(row["moved_difference"], now, result["currency"])
            if _absolute(now)
            else _points(row["moved"])
        )
        shown.append(row | {"then": then, "now": now, "moved": moved})
    return shown


def _contents(result: Result) -> list[dict[str, str]]:
    """The sections that this page has, in order."""
    since = result["since_last_look"]
    pages = _of_treatment(result, "changed_pages")
    there = {
        "moved": ("What moved", True),
        "mixed": ("Which ranking is preferred", bool(result["interleaving"])),
        "looks": ("Look by look", True),
        "since": ("Since the last look", bool(since and since["metrics"])),
        "pages": ("Where the page changed", bool(pages["metrics"] or pages["reason"])),
        "channels": ("Which channel it came from", bool(_of_treatment(result, "channels")["clicks"])),
        "money": ("More orders, or larger ones?", bool(_of_treatment(result, "revenue_parts")["revenue"])),
        "ages": ("Does it wear off?", bool(_of_treatment(result, "by_age")["ages"])),
        "queries": ("For which queries", len(_of_treatment(result, "by_query")["clusters"]) > 1),
        "segments": ("Declared segments", bool(_of_treatment(result, "segments")["cells"])),
        "trust": ("Every trust check", True),
        "totals": ("Totals", True),
        "how": ("How this was worked out", True),
    }
    return [{"id": name, "title": title} for name, (title, shown) in there.items() if shown]


def _of_treatment(result: Result, section: str) -> Mapping[str, Any]:
    named = result["verdict"]["treatment"]
    return next(found for found in result[section] if found["treatment"] == named)


def write_report(result: Result, folder: Path) -> WrittenReport:
    """Write `<experiment>-<last day>` as .html, .json, .md and .slack.json; each whole or not at all."""
    name = f"{result['experiment']['name']}-{result['window']['last_day']}"
    written = WrittenReport(
        page=folder / f"{name}.html",
        numbers=folder / f"{name}.json",
        markdown=folder / f"{name}.md",
        slack=folder / f"{name}.slack.json",
    )
    write_whole(written.numbers, to_json(result))
    write_whole(written.markdown, render_markdown(result))
    write_whole(written.slack, render_slack(result))
    write_whole(written.page, render(result))
    return written


def write_whole(path: Path, text: str) -> None:
    """Put a text file in place in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _environment(result: Result, name: str) -> Environment:
    environment = Environment(
        loader=FunctionLoader(_template),
        autoescape=name.endswith(".html"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    currency = result["currency"]
    environment.filters |= {
        "day": _day,
        "lift": _lift,
        "count": lambda number: f"{number:,}",
        "share": lambda number: "–" if number is None else f"{number:.2%}",
        "ms": lambda number: "–" if number is None else f"{number:,.1f} ms",
        "money": lambda number: _money(number, currency),
        "flat": flat,
        "share1": lambda number: "–" if number is None else f"{number:.1%}",
        "percent": lambda number: f"{number:.0%}",
        "chance": _chance,
        "times": lambda number: f"{number:,.1f}" if number < 100 else f"{number:,.0f}",
        "credit": lambda number: f"{number:,.4g}",
        "points": _points,
        "p": _p,
        "p_is": lambda number: f"p {_p(number)}" if (number or 0.0) < 0.0001 else f"p = {_p(number)}",
        "p_below": lambda number: "less than 0.0001" if number < 0.0001 else f"{_p(number)} or less",
        "ends": _span,
        "value": lambda number, row: _value(number, row, currency),
        "change": lambda row: _change(row, currency),
        "between": lambda row: _between(row, currency),
        "words": _words,
        "tone": _tone,
    }
    environment.globals |= {
        "interval": plots.interval,
        "by_look": plots.by_look,
        "age_chart": plots.by_age,
    }
    return environment


def _template(name: str) -> str:
    return resources.files("experiments.templates").joinpath(name).read_text(encoding="utf-8")


def _day(text: str) -> str:
    day = date.fromisoformat(text[:10])
    return f"{day.day} {day:%b %Y}"


def _lift(number: float | None, digits: int = 1) -> str:
    return "–" if number is None else f"{number:+.{digits}%}".replace("-", _MINUS)


def _points(number: float | None) -> str:
    return "–" if number is None else f"{100 * number:+.1f} points".replace("-", _MINUS)


def _digits(row: Mapping[str, Any]) -> int:
    """One digit is enough for a wide interval."""
    low, high = row["lift_low"], row["lift_high"]
    return 1 if low is None or high - low >= 0.02 else 2


def _span(row: Mapping[str, Any]) -> str:
    if row["lift_low"] == row["lift_high"]:  # none at all, or one point
        return ""
    return f"{_lift(row['lift_low'])} to {_lift(row['lift_high'])}"


def _chance(number: float) -> str:
    """A probability; never certain, never impossible."""
    if number > 0.999:
        return "over 99.9%"
    return (
        "under 0.1%" if number < 0.001 else f"{number:.1%}" if not 0.01 < number < 0.99 else f"{number:.0%}"
    )


def _p(number: float | None) -> str:
    if number is None:
        return "–"
    return "< 0.0001" if number < 0.0001 else f"{number:.4f}" if number < 0.01 else f"{number:.3f}"


def _money(number: float | None, currency: str) -> str:
    return "–" if number is None else f"{number:,.2f} {currency}".strip()


def _value(number: float | None, row: Mapping[str, Any], currency: str) -> str:
    if number is None:
        return "–"
    if row["shown_as"] == "percent":
        return f"{number:.2%}"
    if row["shown_as"] == "money":
        return _money(number, currency)
    return f"{number:,.2f} ms" if row["shown_as"] == "ms" else f"{number:,.4g}"


def _absolute(row: Mapping[str, Any]) -> bool:
    """Whether a row is read as a difference: its margin is one, or there is no lift."""
    return bool(row["margin_kind"] == "absolute" or row["lift"] is None)


def _signed(number: float, row: Mapping[str, Any], currency: str) -> str:
    if row["shown_as"] == "percent":
        return f"{100 * number:+.2f} points".replace("-", _MINUS)
    sign = "+" if number >= 0 else _MINUS
    return sign + _value(abs(number), row, currency)


def _change(row: Mapping[str, Any], currency: str) -> str:
    if not _absolute(row):
        return _lift(row["lift"], _digits(row))
    return "–" if row["difference"] is None else _signed(row["difference"], row, currency)


def _between(row: Mapping[str, Any], currency: str) -> str:
    if _is_a_point(row):
        return ""
    if not _absolute(row) and row["lift_low"] is not None:
        digits = _digits(row)
        return f"{_lift(row['lift_low'], digits)} to {_lift(row['lift_high'], digits)}"
    if row["difference_low"] is None:
        return ""
    return (
        f"{_signed(row['difference_low'], row, currency)} to {_signed(row['difference_high'], row, currency)}"
    )


def _is_a_point(row: Mapping[str, Any]) -> bool:
    """Whether the ends of its lift are the same: one variant has nothing at all."""
    return not _absolute(row) and row["lift_low"] is not None and bool(row["lift_low"] == row["lift_high"])


def _ends(row: Mapping[str, Any]) -> tuple[float | None, float | None]:
    if _absolute(row):
        return row["difference_low"], row["difference_high"]
    return row["lift_low"], row["lift_high"]


def _tone(row: Mapping[str, Any]) -> str:
    """`good`, `bad` or `none`: which way a whole interval lies."""
    low, high = _ends(row)
    if low is None or high is None or low <= 0 <= high:
        return "none"
    if row["guardrail"] == "safe" and (low > 0) is not (row["good"] == "up"):
        return "none"  # a little worse, and no more than was allowed
    return "good" if (low > 0) is (row["good"] == "up") else "bad"


def _words(row: Mapping[str, Any]) -> str:
    """What a row says, for somebody who reads no statistics; of a point also why it is no interval."""
    return f"{_said(row)}; {row['reason']}" if _is_a_point(row) else _said(row)


def _said(row: Mapping[str, Any]) -> str:
    if row["guardrail"] is not None:
        margin = margin_in_words(row["margin"], row["margin_kind"], row["shown_as"])
        return {
            "safe": f"within its margin of {margin}",
            "unclear": f"not yet shown to stay within {margin}",
            "breached": f"worse by more than {margin}",
        }[row["guardrail"]]
    low, high = _ends(row)
    if low is None or high is None:
        return str(row["reason"])
    if low <= 0 <= high:
        return "no clear change"
    return "up" if low > 0 else "down"
