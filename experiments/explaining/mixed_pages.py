"""Interleaving beside the A/B test: which of two rankings shoppers prefer, on one page.

It has a verdict and trust checks of its own. It says which is preferred, not
what it earns: choose by it, confirm by an A/B test.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from scipy import stats

from experiments.experiment import Experiment, Variant
from experiments.inference import Comparison, p_in_words
from experiments.metrics import Aggregates
from experiments.trust import SAMPLE_RATIO_ALPHA, Check, Status
from experiments.trust_cuts import sequential_ratio
from experiments.verdict import asked
from experiments.votes import preference, sensitivity

Found = dict[str, Any]

# Fewer votes than this, and a preference of two to one is all that could be shown.
FEW_VOTES = 100

# Above these shares something upstream deserves a look.
STRAYS_LIMIT = 0.05
TELLS_NOTHING_LIMIT = 0.50
NOT_MIXED_LIMIT = 0.50

_EVEN = {"recall": 0.5, "base": 0.5}


def design_of(variant: Variant) -> str | None:
    """How a variant mixes two rankings on one page; None for a variant that shows one."""
    design = variant.plan.parameters.get("interleave")
    return str(design) if design else None


def mixed_pages(
    experiment: Experiment,
    aggregates: Aggregates,
    found: Sequence[Comparison],
    *,
    bar: float,
    is_last: bool,
    is_broken: bool,
    alpha: float,
) -> list[Found]:
    """A section for each variant that interleaves, or whose logs do.

    Args:
        experiment: its variants say who interleaves.
        aggregates: hold the votes.
        found: the A/B comparisons, to stand beside.
        bar: the p-value that a preference must reach at this look.
        is_last: whether this is the last planned look.
        is_broken: whether a check of the experiment itself failed.
        alpha: intervals hold 1 - alpha of the time.
    """
    sections = []
    for variant in experiment.variants:
        counted = aggregates.interleaved.get(variant.name)
        if counted is None and design_of(variant) is None:
            continue
        searches = next(arm.searches for arm in aggregates.arms if arm.variant == variant.name)
        checks = [] if counted is None else check_pages(counted, searches)
        section: Found = {
            "treatment": variant.name,
            "design": design_of(variant) or "not in the definition",
            "channels": list(variant.plan.channels),
            "searches": searches,
            "pages": counted["pages"] if counted else 0,
            "teams": counted["teams"] if counted else [],
            "ways": counted["ways"] if counted else [],
            "looks": [_look(look, alpha) for look in counted["looks"]] if counted else [],
            "checks": [asdict(check) for check in checks],
            "bar": bar,
            "p_always": sequential_ratio(
                [{"recall": it["wins"], "base": it["losses"]} for it in counted["looks"]], _EVEN
            )
            if counted
            else None,
        }
        now = section["looks"][-1] if section["looks"] else _look(_NOBODY, alpha)
        section |= now
        section["beside"] = _beside(experiment, found, variant, now, alpha=alpha)
        section["verdict"] = _verdict(
            section, [it for it in checks if it.status == "fail"], is_last=is_last, is_broken=is_broken
        )
        sections.append(section)
    return sections


_NOBODY = {"units": 0, "wins": 0, "losses": 0, "ties": 0}


def _look(counted: Mapping[str, int], alpha: float) -> Found:
    votes = counted["wins"] + counted["losses"]
    blank = dict.fromkeys(("preference", "preference_low", "preference_high", "p_value"))
    return {
        **counted,
        "votes": votes,
        "silent": counted["units"] - votes - counted["ties"],
        **(preference(counted["wins"], counted["losses"], alpha=alpha) if votes else blank),
    }


def check_pages(counted: Mapping[str, Any], searches: int) -> list[Check]:
    """May the votes be believed? Asked of the pages themselves."""
    return [
        _first_places(counted["opens"]),
        _told_apart(counted["teams"]),
        _strays(counted),
        _mixed(counted, searches),
        _few(counted["looks"][-1]),
    ]


def _first_places(opens: Mapping[str, int]) -> Check:
    base, recall = opens["base"], opens["recall"]
    p_value = float(stats.binomtest(recall, base + recall).pvalue) if base + recall else 1.0
    fair = p_value >= SAMPLE_RATIO_ALPHA
    share = recall / (base + recall) if base + recall else 0.0
    return Check(
        name="first_places",
        title="A fair coin",
        status="ok" if fair else "fail",
        sentence=f"The new ranking has the first place on {recall:,} of {base + recall:,} pages that either"
        f" could begin ({share:.2%}, a coin says 50.00%; {p_in_words(p_value)})."
        + ("" if fair else " Whoever stands first is clicked more: find out why before reading on."),
        figures={"base": base, "recall": recall, "p_value": p_value, "share": share},
    )


def _told_apart(teams: Sequence[Mapping[str, Any]]) -> Check:
    clicks = {it["team"]: it["clicks"] for it in teams}
    alike, every = clicks["both"] + clicks["neither"], sum(clicks.values())
    share = alike / every if every else 0.0
    many = share > TELLS_NOTHING_LIMIT
    return Check(
        name="told_apart",
        title="Clicks tell the rankings apart",
        status="warn" if many else "ok",
        sentence=f"{alike:,} of {every:,} clicks ({share:.1%}) are on products that both rankings have, or"
        " neither: they count alike and decide nothing."
        + (" The two rankings are nearly the same page." if many else ""),
        figures={"alike": alike, "clicks": every, "share": share},
    )


def _strays(counted: Mapping[str, Any]) -> Check:
    strays = counted["strays"]
    every = strays + sum(it["clicks"] for it in counted["teams"])
    share = strays / every if every else 0.0
    return Check(
        name="off_the_page",
        title="Clicks are on the page",
        status="warn" if share > STRAYS_LIMIT else "ok",
        sentence=f"{strays:,} of {every:,} clicks ({share:.1%}) name a product that is not on the page they"
        " name; they count for nobody.",
        figures={"strays": strays, "clicks": every, "share": share},
    )


def _mixed(counted: Mapping[str, Any], searches: int) -> Check:
    pages, broken = counted["pages"], counted["broken_pages"]
    share = pages / searches if searches else 0.0
    status: Status = "warn" if broken or share < 1 - NOT_MIXED_LIMIT else "ok"
    return Check(
        name="mixed",
        title="Pages were mixed",
        status=status,
        sentence=f"{pages:,} of {searches:,} searches of this variant ({share:.1%}) showed both rankings"
        + (
            "."
            if pages == searches
            else "; for the others the new ranking had nothing to add, or came too late."
        )
        + (f" {broken:,} pages do not say whose their places are; they are left out." if broken else ""),
        figures={"pages": pages, "searches": searches, "share": share, "broken_pages": broken},
    )


def _few(now: Mapping[str, int]) -> Check:
    votes = now["wins"] + now["losses"]
    few = votes < FEW_VOTES
    return Check(
        name="few_votes",
        title="Enough votes",
        status="warn" if few else "ok",
        sentence=f"{votes:,} votes" + (f"; below {FEW_VOTES:,} only a landslide shows." if few else "."),
        figures={"votes": votes},
    )


def _beside(
    experiment: Experiment, found: Sequence[Comparison], variant: Variant, now: Found, *, alpha: float
) -> Found | None:
    """The A/B test of the same ranking: alone where a variant shows it so, else of the mixed page."""
    alone = [
        it
        for it in experiment.variants
        if it.name != experiment.control
        and design_of(it) is None
        and (it.plan.channels, it.plan.merge) == (variant.plan.channels, variant.plan.merge)
    ]
    rival = alone[0] if alone else variant
    primary = next(metric for metric in experiment.metrics if metric.role == "primary")
    row = next((it for it in found if (it.treatment, it.metric) == (rival.name, primary.name)), None)
    if row is None or row.lift is None or row.p_value is None or now["p_value"] is None:
        return None
    units = row.n_control + row.n_treatment
    clear = row.lift_low is not None and row.lift_high is not None and not row.lift_low <= 0 <= row.lift_high
    same = ((row.lift > 0) is (primary.good == "up")) is (now["preference"] > 0.5)
    return {
        "metric": primary.name,
        "title": primary.title,
        "treatment": rival.name,
        "alone": bool(alone),
        "lift": row.lift,
        "lift_low": row.lift_low,
        "lift_high": row.lift_high,
        "p_value": row.p_value,
        "units": units,
        "agrees": None if now["preference"] == 0.5 or not (clear or same) else same,
        **sensitivity((now["p_value"], now["units"]), (row.p_value, units), alpha=alpha),
    }


def _verdict(section: Found, failed: Sequence[Check], *, is_last: bool, is_broken: bool) -> Found:
    said, p_value, bar = section["preference"], section["p_value"], section["bar"]
    if failed or is_broken:
        why = [it.sentence for it in failed] or ["The experiment's own trust checks failed."]
        return {"word": "broken", "headline": "Do not read the preference.", "reasons": why}
    if p_value is None:
        reason = (
            f"None of {section['units']:,} units preferred either ranking."
            if section["pages"]
            else "The logs hold no page that says whose its places are."
        )
        return {"word": "none", "headline": "Nobody has chosen yet.", "reasons": [reason]}
    clear = p_value <= bar
    reason = (
        f"{said:.1%} of the {section['votes']:,} who chose took the new ranking, plausibly"
        f" {section['preference_low']:.1%} to {section['preference_high']:.1%} (50.0% is no preference):"
        f" {'more than chance would show' if clear else 'chance alone may show as much'}"
        f" ({p_in_words(p_value)}; at this look {asked(bar)})."
    )
    if clear:
        liked = "the new ranking" if said > 0.5 else "the search as it is"
        headline = f"Shoppers prefer {liked}."
        word = "recall" if said > 0.5 else "base"
    else:
        word, headline = "none", "No preference is shown." if is_last else "No preference is shown yet."
    return {"word": word, "headline": headline, "reasons": [reason]}
