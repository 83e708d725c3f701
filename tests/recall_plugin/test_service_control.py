"""Looking at the service and steering it: only the token's holder changes what is served."""

import asyncio
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from experiments.exposure import InMemoryEventLog
from recall_plugin.errors import InvalidSettings
from recall_plugin.query import Query
from recall_plugin.service.images import Uploads
from recall_plugin.service.problems import Problem
from recall_plugin.service.running import check_address
from recall_plugin.settings import Settings
from tests.recall_plugin.doubles import Says, finds, wait_for
from tests.recall_plugin.serving import (
    ASKED,
    PACKAGED,
    STEERING,
    TOKEN,
    Environment,
    app_of,
    client_at,
    client_of,
    picture,
    refusal,
    serving,
)


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """Definitions and switches that may be written."""
    folder = tmp_path / "definitions"
    folder.mkdir()
    shutil.copy(PACKAGED, folder)
    return {"experiments": folder, "switches": tmp_path / "switches.toml"}


def test_it_says_whether_it_is_alive_and_ready_and_what_it_serves() -> None:
    """For a load balancer, Prometheus and people."""
    with client_of() as client:
        client.post("/recall", json=ASKED)
        (card,) = client.get("/experiments").json()
        figures = client.get("/metrics").text

        assert {"status": "alive"} == client.get("/health").json()
        assert {"status": "ready", "channels": ["uniecs"]} == client.get("/ready").json()
    assert ("uniecs-recall", True, False, 1.0) == (card["name"], card["serves"], card["off"], card["traffic"])
    assert [("control", []), ("treatment", ["uniecs"])] == [
        (one["name"], one["channels"]) for one in card["variants"]
    ]
    assert 'uniecs_recall_requests_total{status="200"} 1.0' in figures
    assert 'uniecs_recall_events_total{event="ok",source="uniecs"} 1.0' in figures


def test_until_its_channels_are_loaded_it_is_not_ready() -> None:
    """Traffic that comes earlier is degraded, and weighs on the treatment alone."""
    environment = {"channels_in": "sidecar", "sidecar_socket": Path("nobody-is-here")}
    with client_of(environment=environment) as client:
        assert "no sidecar answers" in refusal(client.get("/ready"), 503)
        assert 200 == client.post("/recall", json=ASKED).status_code


CHANGES = [
    ("PUT", "/switches", {"all": True}),
    ("PUT", "/experiments/uniecs-recall/traffic", {"traffic": 0.1}),
    ("POST", "/reload", None),
]


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
def test_nothing_is_changed_without_the_token(
    environment: Environment, method: str, path: str, body: Any
) -> None:
    """Missing, wrong, or none set at all."""
    with client_of(environment=environment) as client:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic bGV0IG1lIGlu"}):
            answer = client.request(method, path, json=body, headers=headers)
            assert "RECALL_TOKEN" in refusal(answer, 401)
            assert "Bearer" == answer.headers["www-authenticate"]
    with client_of(environment=environment | {"token": ""}) as client:
        answer = client.request(method, path, json=body, headers=STEERING)
        assert "RECALL_TOKEN is not set" in refusal(answer, 403)
    assert not environment["switches"].exists()


def test_the_kill_switch_gives_everybody_control_within_a_second(environment: Environment) -> None:
    """And back on again; the file is the truth, so an editor does as well."""
    with client_of(environment=environment) as client:

        def variant() -> str:
            return str(client.post("/recall", json=ASKED).json()["variant"])

        assert "treatment" == variant()
        off = client.put("/switches", json={"experiments": ["uniecs-recall"]}, headers=STEERING)
        assert 200 == off.status_code
        wait_for(lambda: variant() == "control")
        assert [True] == [card["off"] for card in client.get("/experiments").json()]
        assert ["uniecs-recall"] == client.get("/switches").json()["experiments"]
        environment["switches"].write_text("")
        wait_for(lambda: variant() == "treatment")


def test_a_channel_is_switched_off_and_its_arms_stay(environment: Environment) -> None:
    """Its answers are missing, as if it were broken."""
    with client_of(environment=environment) as client:
        client.put("/switches", json={"channels": ["uniecs"]}, headers=STEERING)
        said = client.post("/recall", json=ASKED).json()

    assert ("treatment", "off") == (said["variant"], said["channels"]["uniecs"]["status"])


def test_a_ramp_is_written_into_the_definition_and_served_at_once(environment: Environment) -> None:
    """Its comments and everything else stay as they were."""
    file = environment["experiments"] / PACKAGED.name
    before = file.read_text()
    with client_of(environment=environment) as client:
        done = client.put(CHANGES[1][1], json={"traffic": 0.01}, headers=STEERING)

        assert (200, 0.01) == (done.status_code, done.json()["traffic"])
        assert 0.01 == client.get("/experiments").json()[0]["traffic"]
    assert before.replace("traffic = 1.0", "traffic = 0.01") == file.read_text()


@pytest.mark.parametrize("traffic", [0, -0.1, 1.1, "half", None, 1e400])
def test_a_ramp_to_nowhere_is_refused(environment: Environment, traffic: Any) -> None:
    """And nothing is written."""
    before = (environment["experiments"] / PACKAGED.name).read_text()
    with client_of(environment=environment) as client:
        body = b'{"traffic": 1e999}' if traffic == 1e400 else None
        sent: dict[str, Any] = {"content": body} if body else {"json": {"traffic": traffic}}
        refusal(client.put(CHANGES[1][1], headers=STEERING, **sent), 422)

    assert before == (environment["experiments"] / PACKAGED.name).read_text()


def test_what_is_not_there_cannot_be_steered(environment: Environment) -> None:
    """By its name, with those that there are."""
    with client_of(environment=environment) as client:
        unknown = client.put("/switches", json={"experiments": ["other"]}, headers=STEERING)
        nobody = client.put("/switches", json={"channels": ["other"]}, headers=STEERING)
        nowhere = client.put("/experiments/other/traffic", json={"traffic": 1}, headers=STEERING)

        assert "no experiment 'other'; there are: uniecs-recall" in refusal(unknown, 422)
        assert "no channel 'other'; there are: uniecs" in refusal(nobody, 422)
        assert "no experiment 'other'" in refusal(nowhere, 404)
    with client_of() as client:
        packaged = client.put(CHANGES[1][1], json={"traffic": 0.5}, headers=STEERING)
        no_file = client.put("/switches", json={"all": True}, headers=STEERING)

        assert "set EXPERIMENTS" in refusal(packaged, 409)
        assert "RECALL_SWITCHES is not set" in refusal(no_file, 409)


def test_a_reload_follows_the_definitions_and_refuses_broken_ones(environment: Environment) -> None:
    """What was served before goes on."""
    file = environment["experiments"] / PACKAGED.name
    with client_of(environment=environment) as client:
        sound = file.read_text()
        file.write_text(sound.replace("share = 0.5", "share = 0.4"))
        assert "goes on" in refusal(client.post("/reload", headers=STEERING), 422)
        assert [0.5, 0.5] == [one["share"] for one in client.get("/experiments").json()[0]["variants"]]
        file.write_text(sound.replace("9d272bcd90e18aa9", "0123456789abcdef"))
        assert "salt" in refusal(client.post("/reload", headers=STEERING), 422)
        file.write_text(sound.replace('phase = "1"', 'phase = "2"'))
        assert 204 == client.post("/reload", headers=STEERING).status_code
        assert "2" == client.get("/experiments").json()[0]["phase"]
        figures = client.get("/metrics").text

    assert 'uniecs_recall_reloads_total{outcome="done"} 1.0' in figures
    assert 'uniecs_recall_reloads_total{outcome="refused"} 2.0' in figures


def test_no_request_is_dropped_by_a_reload(environment: Environment) -> None:
    """Four clients ask all the while."""
    before = {one for one in threading.enumerate() if one.name.startswith("recall-")}
    app = app_of(finds("new"), environment=environment)
    statuses: list[tuple[int, str]] = []
    stop = threading.Event()

    def ask_on(url: str) -> None:
        with client_at(url) as client:
            while not stop.is_set():
                answer = client.post("/recall", json=ASKED)
                statuses.append((answer.status_code, answer.json()["channels"]["uniecs"]["status"]))

    with serving(app) as url, client_at(url) as client:
        askers = [threading.Thread(target=ask_on, args=(url,)) for _ in range(4)]
        for asker in askers:
            asker.start()
        for number in range(10):
            environment["grace_ms"] = float(number)
            assert 204 == client.post("/reload", headers=STEERING).status_code
            seen = len(statuses)
            wait_for(lambda seen=seen: len(statuses) > seen + 8)
        stop.set()
        for asker in askers:
            asker.join()

    assert {(200, "ok")} == set(statuses)
    # What was replaced is closed with the rest, even where its time had not come yet.
    wait_for(lambda: {one for one in threading.enumerate() if one.name.startswith("recall-")} <= before)


def test_channels_whose_settings_did_not_change_are_taken_over(environment: Environment) -> None:
    """With their model, their connections and their caches; others are opened anew and the old closed."""
    app = app_of(environment=environment)
    first = app.service.now.channels

    asyncio.run(app.service.reload())
    assert app.service.now.channels is first
    environment["floor_text"] = 0.5
    asyncio.run(app.service.reload())
    assert app.service.now.channels is not first


def test_an_uploaded_picture_is_embedded_before_it_is_asked_with() -> None:
    """The encoder is the slow part: by the time the shopper presses the button it is done."""
    prepared: list[Query] = []
    channel: Any = finds("new")
    channel.prepare = lambda query, *, wait_s: prepared.append(query)  # noqa: PLW0108
    with client_of(channel) as client:
        client.post("/uploads", content=picture())
        wait_for(lambda: len(prepared) == 1)

    assert picture() == prepared[0].image


def test_uploads_are_kept_for_a_while_within_bounds() -> None:
    """The least recently used goes first; nothing outlives its time."""
    now = [0.0]
    uploads = Uploads(keep_s=10, keep_bytes=250, clock=lambda: now[0])
    names = ["", "", ""]
    for number, content in enumerate((b"a" * 100, b"b" * 100)):
        uploads.put(content)
        names[number] = next(reversed(uploads._kept))
    uploads.get(names[0])
    uploads.put(b"c" * 100)

    assert 200 == uploads.kept_bytes
    assert b"a" * 100 == uploads.get(names[0])
    with pytest.raises(Problem, match="upload the image again"):
        uploads.get(names[1])
    now[0] = 11
    with pytest.raises(Problem, match="not known, or not any more"):
        uploads.get(names[0])


def test_what_a_shopper_did_is_logged_once_however_often_it_is_told() -> None:
    """Its id is derived where the host gives none."""
    log = InMemoryEventLog()
    click = {"kind": "click", "unit_id": "u", "product_id": "new", "query_id": "q-1", "position": 3}
    with client_of(log=log) as client:
        answers = [client.post("/outcomes", json=click).status_code for _ in range(2)]
        bad = [
            {"kind": "look"}, {"position": 0}, {"revenue": "much"}, {"occurred_at": "yesterday"}, {"x": 1},
            {"occurred_at": "2026-01-01T00:00:00"},
        ]  # fmt: skip
        for fields in bad:
            refusal(client.post("/outcomes", json=click | fields), 422)

    assert [202, 202] == answers
    assert 1 == len({outcome.event_id for outcome in log.outcomes})
    assert ("click", "new", 3) == (log.outcomes[0].kind, log.outcomes[0].product_id, log.outcomes[0].position)


def test_whoever_can_be_reached_from_elsewhere_has_a_token() -> None:
    """Loopback is the default."""
    with pytest.raises(InvalidSettings, match="set RECALL_TOKEN"):
        check_address(Settings(_env_file=None, host="shop.internal"))
    check_address(Settings(_env_file=None, host="shop.internal", token=TOKEN))
    assert "127.0.0.1" == Settings(_env_file=None).host


def test_a_failure_inside_is_a_500_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host serves its base."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("recall_plugin.service.route.answer_of", fail)
    with client_of(Says(lambda _: None)) as client:
        assert "serve the base" in refusal(client.post("/recall", json=ASKED), 500)


@pytest.mark.parametrize("path", ["/outcomes", "/switches", "/nothing"])
def test_a_large_body_where_a_few_lines_belong_is_not_even_read(path: str) -> None:
    """Nor one that does not say how large it is."""
    with client_of() as client:
        large = client.put(path, content=bytes(200_000), headers=STEERING)
        endless = client.put(path, content=iter([b"{", b"}"]), headers=STEERING)

        assert "has 200000 bytes, at most 100000" in refusal(large, 413)
        assert "send content-length" in refusal(endless, 411)
