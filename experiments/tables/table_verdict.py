"""What a table's comparisons say in a word: ship, hold or stop; or that it is broken. Pure."""

from collections.abc import Sequence
from typing import Any

from experiments.inference import Comparison
from experiments.trust import Check

from .formula import Formula

_BEST_FIRST = ("ship", "hold", "stop")


def verdict_of(
    checks: Sequence[Check], found: Sequence[Comparison], formulas: Sequence[Formula], alpha: float
) -> dict[str, Any]:
    """The word, its sentence and its reasons; of several treatments the best word counts.

    Args:
        checks: where one fails, no winner is named.
        found: every metric in every treatment, corrected.
        formulas: which way each metric is wanted.
        alpha: below it a corrected p-value counts.
    """
    failed = [check.sentence for check in checks if check.status == "fail"]
    if failed:
        return {
            "verdict": "broken",
            "headline": "Do not read the results: the experiment itself is broken.",
            "reasons": failed,
        }
    good = {formula.name: formula.good for formula in formulas}
    told: dict[str, tuple[str, str]] = {}
    reasons = []
    for treatment in dict.fromkeys(it.treatment for it in found):
        mine = [it for it in found if it.treatment == treatment]
        better: list[str] = []
        worse: list[str] = []
        for it in mine:
            if it.p_adjusted is not None and it.p_adjusted <= alpha:
                (better if ((it.difference or 0) > 0) is (good[it.metric] == "up") else worse).append(
                    it.metric
                )
        word = "stop" if worse else "ship" if better else "hold"
        said = {
            "stop": f"{' and '.join(worse)} got worse in {treatment}",
            "ship": f"{' and '.join(better)} improved in {treatment}",
            "hold": f"no metric clearly moved in {treatment}",
        }[word]
        told[treatment] = (word, said)
        reasons += [_reason(it, alpha) for it in mine]
    word, said = min(told.values(), key=lambda one: _BEST_FIRST.index(one[0]))
    return {"verdict": word, "headline": f"{word.capitalize()}: {said}.", "reasons": reasons}


def _reason(it: Comparison, alpha: float) -> str:
    if it.p_adjusted is None:
        return f"{it.metric} in {it.treatment}: {it.reason}."
    moved = f"{it.lift:+.2%}" if it.lift is not None else f"{it.difference:+.4g}"
    passes = "is below" if it.p_adjusted <= alpha else "is not below"
    return f"{it.metric} in {it.treatment} {moved}: p = {it.p_adjusted:.3g} (Holm) {passes} {alpha:g}."
