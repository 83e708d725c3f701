"""The examples as they stand in `examples/`: other languages, and a channel of somebody else's."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo.processes import free_port
from experiments.exposure import InMemoryEventLog
from recall_plugin.service.app import RecallApp
from tests.recall_plugin.doubles import PROGRAM_S, TREATED, UNTREATED, finds, wait_for
from tests.recall_plugin.serving import PACKAGED, Environment, app_of, client_at, serving

EXAMPLES = Path(__file__).parents[2] / "examples"
# Quotes, a backslash, other scripts, beyond the basic plane: what breaks callers that build JSON by hand.
ODD = 'mug "x"\\ 杯子 😀'
CALLERS = {
    "java": ["java", str(EXAMPLES / "java" / "Recall.java")],
    "node": ["node", str(EXAMPLES / "javascript" / "recall.mjs")],
}


@pytest.fixture(scope="module")
def log() -> InMemoryEventLog:
    return InMemoryEventLog()


@pytest.fixture(scope="module")
def app(log: InMemoryEventLog) -> RecallApp:
    # What is tested here is not about time: what was begun keeps for as long as a base may take.
    patient: Environment = {"grace_ms": 10_000, "ahead_ms": 60_000}
    return app_of(finds("new", "b", ODD), log=log, environment=patient)


@pytest.fixture(scope="module")
def url(app: RecallApp) -> Iterator[str]:
    with serving(app) as url:
        yield url


def call(
    language: str, url: str, unit: str, *, base_is_ready: Callable[[], bool] = lambda: True
) -> list[str]:
    """What the caller would serve, by its standard output."""
    if shutil.which(language) is None:
        pytest.skip(f"no {language} on the PATH")
    with subprocess.Popen(
        [*CALLERS[language], url, ODD, unit, "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=os.environ | {"RECALL_JOIN_MS": "60000"},
    ) as caller:
        try:
            wait_for(base_is_ready)
            served, said = caller.communicate(f"a,b,{ODD}\n", timeout=PROGRAM_S)
        finally:
            caller.kill()
    assert 0 == caller.returncode, said
    return [one.partition(" base:")[0].partition(" uniecs:")[0] for one in served.splitlines()]


@pytest.mark.parametrize("language", CALLERS)
def test_a_caller_serves_its_own_with_what_was_recalled(
    app: RecallApp, url: str, log: InMemoryEventLog, language: str
) -> None:
    """Begun before the base, joined after it."""
    seen = len(log.exposures)
    begun = lambda: len(app.route.ahead) == 1  # noqa: E731

    assert ["a", "b", ODD, "new"] == call(language, url, TREATED, base_is_ready=begun)
    assert [ODD] == [exposure.query for exposure in log.exposures[seen:]]


def test_in_control_a_caller_serves_nothing_but_its_own(url: str) -> None:
    """As the service answers it."""
    assert ["a", "b", ODD] == call("node", url, UNTREATED)


@pytest.mark.parametrize("language", CALLERS)
def test_without_the_service_a_caller_serves_its_own(language: str) -> None:
    """As if nothing had been asked."""
    assert ["a", "b", ODD] == call(language, f"http://127.0.0.1:{free_port()}", TREATED)


def test_a_shop_shows_both_and_logs_the_click(url: str, log: InMemoryEventLog, tmp_path: Path) -> None:
    """A page as a shopper's browser would ask for it; nothing in a title is markup."""
    if shutil.which("node") is None:
        pytest.skip("no node on the PATH")
    shelf = [{"product_id": name, "title": f"Mug <i>{name}</i>", "price": 9} for name in ("a", "new")]
    (tmp_path / "products.json").write_text(json.dumps([shelf[0], shelf[1] | {"title": "A <i>cup</i>"}]))
    port = free_port()
    command = [
        "node",
        str(EXAMPLES / "javascript" / "shop.mjs"),
        str(tmp_path / "products.json"),
        url,
        str(port),
    ]
    patient = os.environ | {"RECALL_JOIN_MS": "30000"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=patient) as shop:
        try:
            assert shop.stdout is not None
            assert "listens" in shop.stdout.readline()
            with client_at(f"http://127.0.0.1:{port}") as browser:
                browser.cookies.set("shopper", TREATED)
                pages: list[str] = []

                def has_new() -> bool:  # its base takes no time: now and then it is there first
                    pages.append(browser.get("/", params={"q": "mug"}).text)
                    return "id=new" in pages[-1]

                wait_for(has_new)
                browser.get("/product", params={"id": "new", "query": "q-9", "at": "2"})
                wait_for(lambda: bool(log.outcomes))
        finally:
            shop.kill()

    assert "<i>" not in pages[-1]
    assert "uniecs" in pages[-1]
    assert ("click", "new", "q-9", 2) == (
        log.outcomes[-1].kind,
        log.outcomes[-1].product_id,
        log.outcomes[-1].query_id,
        log.outcomes[-1].position,
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The third party's package, installed by itself in a folder of its own."""
    source, target = tmp_path_factory.mktemp("source") / "channel", tmp_path_factory.mktemp("site")
    shutil.copytree(EXAMPLES / "third_party_channel", source)
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*command, "--offline", "--python", sys.executable, "--target", str(target), str(source)],
        capture_output=True,
        text=True,
        timeout=PROGRAM_S,
    )
    assert 0 == done.returncode, done.stderr
    return target


@pytest.mark.parametrize(
    ("bestsellers", "says", "status"),
    [
        (
            '[{"product_id": "mug-1", "title": "Red mug"}]',
            "asked       popular: ok, 1 hits from popular.json@",
            0,
        ),
        ("[{}]", "channel 'popular' (popular_channel.channel:from_settings) cannot be loaded: KeyError", 2),
    ],
    ids=["sound", "broken"],
)
def test_a_channel_of_somebody_elses_is_loaded_through_its_entry_point(
    installed: Path, tmp_path: Path, bestsellers: str, says: str, status: int
) -> None:
    """Installed, named in a plan, asked; a broken one says what is wrong with it."""
    (tmp_path / "popular.json").write_text(bestsellers)
    plan = PACKAGED.read_text().replace('channels = ["uniecs"]', 'channels = ["popular"]')
    (tmp_path / "definitions").mkdir()
    (tmp_path / "definitions" / "popular.toml").write_text(plan)
    done = subprocess.run(
        [sys.executable, "-m", "recall_plugin", "check"],
        capture_output=True,
        text=True,
        timeout=PROGRAM_S,
        cwd=tmp_path,
        env={
            "PATH": "",
            "PYTHONPATH": os.pathsep.join((str(installed), str(EXAMPLES.parent))),
            "POPULAR_FILE": "popular.json",
            "EXPERIMENTS": "definitions",
        },
    )

    assert status == done.returncode, done.stderr
    assert "popular, same_style, uniecs" in done.stdout
    assert says in done.stdout + done.stderr
