"""The same report for a channel and for a repository: Slack blocks and Markdown.

Slack takes at most 50 blocks of 3,000 characters; this stays far below both.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import Environment

from .analysis import Result

_SIGN = {"ship": "Ship", "hold": "Hold", "stop": "Stop", "broken": "Broken"}
_LONGEST = 2_800


def as_markdown(context: Mapping[str, Any], environment: Environment) -> str:
    """The page as Markdown; what people typed cannot break a table."""
    return environment.get_template("report.md").render(**context)


def flat(text: str) -> str:
    r"""Text on one line, without what Markdown would read as more than text.

    >>> print(flat("a|b <c> `d`"))
    a\|b &lt;c&gt; \`d\`
    """
    line = " ".join(str(text).split())
    for mark in "\\|`*_[]":
        line = line.replace(mark, "\\" + mark)
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def as_slack(
    context: Mapping[str, Any],
    *,
    change: Callable[[Mapping[str, Any]], str],
    between: Callable[[Mapping[str, Any]], str],
) -> str:
    """Slack's blocks as JSON: a verdict, whether to trust it, the primary metrics and what is odd."""
    result: Result = dict(context)
    word = _SIGN[result["verdict"]["word"]]
    odd = [check for check in result["checks"] if check["status"] in ("warn", "fail")]
    lines = [f"*{_safe(row['title'])}*: {change(row)} ({between(row)})" for row in context["primaries"]]
    if context["failures"]:
        lines = ["Not to be read: a trust check failed."]
    blocks = [
        {
            "type": "header",
            "text": {"type": "plain_text", "text": _cut(f"{result['experiment']['name']}: {word}", 150)},
        },
        _section(_safe(result["verdict"]["headline"])),
        _section("\n".join(lines)),
        *[_section(_preferred(part)) for part in result["interleaving"]],
        _section(
            f"*May I trust it?* {context['trust']}. " + " ".join(_safe(it["sentence"]) for it in odd[:3])
        ),
        {
            "type": "context",
            "elements": [
                {
                    "type": "mrkdwn",
                    "text": f"{result['window']['first_day']} to {result['window']['last_day']}, look"
                    f" {result['window']['looks_done']} of {result['window']['planned_looks']}",
                }
            ],
        },
    ]
    fallback = f"{result['experiment']['name']}: {result['verdict']['headline']}"
    return json.dumps({"text": _safe(fallback), "blocks": blocks}, ensure_ascii=False, indent=1) + "\n"


def _preferred(part: Mapping[str, Any]) -> str:
    """One line of an interleaved page: what it says, or that it may not be read."""
    said = part["verdict"]
    reasons = "" if said["word"] == "broken" else " " + said["reasons"][0]
    return f"*Preference ({_safe(part['treatment'])})*: {_safe(said['headline'] + reasons)}"


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": _cut(text, _LONGEST)}}


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _safe(text: str) -> str:
    """Slack reads these three as its own marks."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
