"""After the journeys: the road that a shop takes, with what the demo has made.

The simulated shoppers have their channel in the demo's own process, so that what
they see depends on no clock. Here the channel is where it belongs, in a sidecar,
and one question goes over HTTP. It counts nowhere.
"""

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import ProxyHandler, Request, build_opener

from demo.home import Home
from demo.processes import StackError, free_port, wait_until
from demo.stack import Stack
from demo.telling import Telling
from experiments import definitions
from experiments.definition import Experiment
from product_index.product import Product

from .query_to_exposure import somebody_in

START_TIMEOUT_S = 60.0
# A machine that is busy with all of the demo may need a while for the first question of all.
WAIT_MS = 5_000
ASK_TIMEOUT_S = 20.0
PAGE_LENGTH = 12
SHOWN = 4

# To loopback, whatever proxies the environment names.
_web = build_opener(ProxyHandler({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What the service said.

    Attributes:
        added: products of the page that the base alone has not on it, with everybody's rank.
        late: why a channel is missing, or "".
        logged: how many exposures lie in the folder of events.
    """

    added: Sequence[tuple[str, Mapping[str, int]]]
    late: str
    latency_ms: float
    logged: int


def ask_once(
    stack: Stack,
    home: Home,
    env: Mapping[str, str],
    experiment: Experiment,
    *,
    text: str,
    base: Sequence[str],
) -> Answered:
    """Start the sidecar and the service, ask as a shopper of the treatment, stop both.

    Raises:
        StackError: one of them does not start, or does not answer.
    """
    unit = somebody_in(experiment, "treatment", now=datetime.now(UTC))
    question = {
        "text": text, "base": list(base), "limit": PAGE_LENGTH, "wait_ms": WAIT_MS,
        "unit_id": unit, "session_id": "demo", "query_id": "demo",
    }  # fmt: skip
    with _running(stack, home, env, experiment) as url:
        said = _post(f"{url}/recall", question)
    logged = sum(len(file.read_bytes().splitlines()) for file in home.served.glob("exposures-*.jsonl"))
    return answered(said, base, logged=logged)


def answered(said: Mapping[str, Any], base: Sequence[str], *, logged: int) -> Answered:
    """What of an answer is worth telling."""
    page, before = said["items"][:PAGE_LENGTH], set(base[:PAGE_LENGTH])
    added = [(one["product_id"], one["ranks"]) for one in page if one["product_id"] not in before]
    missing = [f"{name}: {one['reason'] or one['status']}" for name, one in said["channels"].items()
               if one["status"] != "ok"]  # fmt: skip
    return Answered(added=added, late="; ".join(missing), latency_ms=float(said["latency_ms"]), logged=logged)


def tell(
    answer: Answered,
    products: Mapping[str, Product],
    telling: Telling,
    *,
    text: str,
    base: Sequence[str],
    served: Path,
) -> None:
    """What the shop had, what was added, and who found it."""
    telling.say(f"asked for {text!r} at POST /recall, as a shopper who gets UniECS")
    telling.say(f"{'your search':<13}{', '.join(_title(one, products) for one in base[:SHOWN])}", hanging=13)
    if answer.late:
        telling.say(f"{'UniECS':<13}did not answer in time, so the page is your search's ({answer.late})")
    for number, (product_id, ranks) in enumerate(answer.added[:SHOWN]):
        name = "UniECS adds" if number == 0 else ""
        telling.say(f"{name:<13}{_title(product_id, products)}: {why(ranks)}", hanging=13)
    logged = "1 exposure" if answer.logged == 1 else f"{answer.logged} exposures"
    telling.say(
        f"answered in {answer.latency_ms:.0f} ms, the first question since their start; "
        f"{logged} in {served}; both have been stopped"
    )


def why(ranks: Mapping[str, int]) -> str:
    """Who found a product.

    >>> why({"uniecs": 3})
    'number 3 of uniecs, not among yours'
    >>> why({"base": 14, "uniecs": 2})
    'number 2 of uniecs, number 14 of yours'
    """
    found = [f"number {rank} of {name}" for name, rank in ranks.items() if name != "base"]
    return ", ".join((*found, f"number {ranks['base']} of yours" if "base" in ranks else "not among yours"))


@contextmanager
def _running(stack: Stack, home: Home, env: Mapping[str, str], experiment: Experiment) -> Iterator[str]:
    """The address of a service that is ready."""
    # A socket's path is short; the demo's folder may not be.
    with tempfile.TemporaryDirectory(prefix="uniecs-demo-") as folder:
        port = free_port()
        told = {
            **env,
            "EXPERIMENTS": str(Path(definitions.__file__).parent),
            "RECALL_EXPERIMENT": experiment.name,
            "RECALL_EVENTS": str(home.served),
            "RECALL_CHANNELS_IN": "sidecar",
            "RECALL_SIDECAR_SOCKET": str(Path(folder) / "sidecar.sock"),
            "RECALL_SIDECAR_GIVES_WAY": "false",  # whoever watches the demo waits for it
            "RECALL_HOST": "127.0.0.1",
            "RECALL_PORT": str(port),
            "RECALL_BUDGET_MS": str(WAIT_MS),
        }
        started = [
            stack.process(name, [sys.executable, "-m", "recall_plugin", name], env=told)
            for name in ("sidecar", "serve")
        ]
        url = f"http://127.0.0.1:{port}"
        try:
            for process in started:
                wait_until(lambda: _is_ready(url), process, timeout_s=START_TIMEOUT_S)
            yield url
        finally:
            for process in reversed(started):
                process.stop()


def _is_ready(url: str) -> bool:
    try:
        with _web.open(f"{url}/ready", timeout=ASK_TIMEOUT_S):
            return True
    except (URLError, OSError):  # not there yet, or not ready: 503
        return False


def _post(url: str, body: Mapping[str, Any]) -> dict[str, Any]:
    request = Request(url, json.dumps(body).encode(), {"content-type": "application/json"})  # noqa: S310 - http
    try:
        with _web.open(request, timeout=ASK_TIMEOUT_S) as answer:
            said: dict[str, Any] = json.load(answer)
    except (URLError, OSError) as error:
        raise StackError(f"{url} did not answer: {error}; see the logs of serve and sidecar") from error
    return said


def _title(product_id: str, products: Mapping[str, Product]) -> str:
    found = products.get(product_id)
    return product_id if found is None or not found.title else found.title
