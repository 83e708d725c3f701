"""An ONNX graph, one part of which runs only where it is wanted: asked at every run."""

from collections.abc import Mapping, Sequence
from typing import Any


def run_where(condition: Sequence[Any], part: Any, rest: Any) -> Any:
    """Return a model that does `part` where the condition holds, and `rest` in any case.

    Args:
        condition: nodes, the last of which gives one bool; they may read the inputs of `rest`.
        part: a model that gives new values of some inputs of `rest`, as outputs "met_" and their name.
        rest: a model; its inputs and outputs are those of the whole.
    """
    import onnx
    from onnx import helper

    inputs = {each.name: each.name for each in rest.graph.input}
    met = [each.name for each in part.graph.output]
    then = helper.make_graph(_renamed(part.graph, "part/", inputs), "then", [], _outputs(part.graph, "part/"))
    pass_by = [helper.make_node("Identity", [name.removeprefix("met_")], [f"else/{name}"]) for name in met]
    otherwise = helper.make_graph(pass_by, "else", [], _outputs(part.graph, "else/"))
    asks = helper.make_node(
        "If", [condition[-1].output[0]], met, then_branch=then, else_branch=otherwise, name="meet"
    )
    after = _renamed(rest.graph, "", inputs | {name.removeprefix("met_"): name for name in met})
    weights = [
        onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(each), prefix + each.name)
        for graph, prefix in ((part.graph, "part/"), (rest.graph, ""))
        for each in graph.initializer
    ]
    whole = onnx.ModelProto()
    whole.CopyFrom(rest)
    whole.graph.CopyFrom(
        helper.make_graph(
            [*condition, asks, *after], "fusion", rest.graph.input, rest.graph.output, initializer=weights
        )
    )
    return whole


def _renamed(graph: Any, prefix: str, inputs: Mapping[str, str]) -> list[Any]:
    """Return the nodes, all of whose names begin with the prefix, but for what comes from outside."""
    import onnx

    nodes = []
    for node in graph.node:
        moved = onnx.NodeProto()
        moved.CopyFrom(node)
        moved.name = prefix + node.name
        moved.input[:] = [inputs.get(name, prefix + name) if name else "" for name in node.input]
        moved.output[:] = [prefix + name for name in node.output]
        nodes.append(moved)
    return nodes


def _outputs(graph: Any, prefix: str) -> list[Any]:
    import onnx

    named = []
    for each in graph.output:
        value = onnx.ValueInfoProto()
        value.CopyFrom(each)
        value.name = prefix + each.name
        named.append(value)
    return named
