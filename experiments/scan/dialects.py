"""The one query for other engines: `unit_query`, as Spark says it, by SQLGlot.

Past one machine the same archive is read by Spark; what comes out is the same
table, one row per unit and week. Nothing is written twice: what SQLGlot does
not know of DuckDB's words is rewritten here, in the tree.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from experiments.errors import InvalidData

from . import unit_query

# In the order in which they build on each other, over the views exposure_log and outcome_log.
STEPS = ("EXPOSURES", "SEARCHES", "UNITS", "OUTCOMES", "UNIT_WEEKS")


def spark_statements(parameters: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(view, SELECT) for Spark SQL: make each a view of that name before the next is asked for.

    Args:
        parameters: as `unit_query` names them, without the dollar sign.

    Raises:
        InvalidData: a parameter is missing, or SQLGlot is not installed.
    """
    try:
        from sqlglot import exp, parse_one
    except ImportError as error:
        raise InvalidData("SQLGlot is not installed; pip install 'uniecs-online[spark]'") from error
    for step in STEPS:
        create = parse_one(getattr(unit_query, step), read="duckdb")
        select = create.expression.transform(_rewritten(exp, parameters))
        for join in list(select.find_all(exp.Join)):
            if join.args.get("method") == "ASOF":
                _without_asof(exp, join)
        yield create.this.name, select.sql(dialect="spark")


def _rewritten(exp: Any, parameters: Mapping[str, Any]) -> Any:
    def rewrite(node: Any) -> Any:
        if isinstance(node, exp.Parameter | exp.Placeholder):
            name = node.name
            if name not in parameters:
                raise InvalidData(f"the query needs ${name}; give it")
            return _literal(exp, parameters[name])
        if isinstance(node, exp.Length):
            return exp.func("SIZE", node.this)
        called = node.name.upper() if isinstance(node, exp.Anonymous) else ""
        if called == "EPOCH_US":
            return exp.func("UNIX_MICROS", *node.expressions)
        if called == "ISFINITE" or type(node).__name__ == "IsFinite":
            value = node.expressions[0] if called else node.this
            # NaN is larger than any number there.
            endless = exp.cast(exp.Literal.string("Infinity"), "double")
            return exp.LT(this=exp.Abs(this=value), expression=endless)
        if called == "HASH":
            return exp.func("XXHASH64", *node.expressions)
        return node

    return rewrite


def _literal(exp: Any, value: Any) -> Any:
    if isinstance(value, list | tuple):
        return exp.Array(expressions=[_literal(exp, it) for it in value])
    return exp.Literal.string(value) if isinstance(value, str) else exp.Literal.number(value)


def _without_asof(exp: Any, join: Any) -> None:
    """The last row at or before, by grouping: Spark has no such join."""
    right, condition = join.this, join.args["on"]
    name, left = right.alias, join.parent.find(exp.From).this.name
    latest = exp.func("MAX_BY", exp.column("event_id", name), exp.column("at_us", name))
    last = (
        exp.select(
            exp.alias_(exp.column("event_id", left), "of_event"),
            exp.alias_(exp.Max(this=exp.column("at_us", name)), "at_us"),
            exp.alias_(latest, "event_id"),
        )
        .from_(left)
        .join(right.copy(), on=condition.copy())
        .group_by(exp.column("event_id", left))
    )
    join.set("method", None)
    join.set("side", "LEFT")
    join.set("this", last.subquery(name))
    join.set("on", exp.EQ(this=exp.column("event_id", left), expression=exp.column("of_event", name)))
