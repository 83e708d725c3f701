"""POST /recall over a real socket: what a funnel in any language asks, and what it gets."""

import base64
import struct
import threading
import zipfile
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest

from experiments.exposure import InMemoryEventLog
from experiments.overrides import Override, sign_override
from product_index.vector_store import Filter
from recall_plugin.channels import Channel
from recall_plugin.query import ChannelRequest
from tests.recall_plugin.doubles import PATIENCE_S, UNTREATED, Hangs, Says, finds
from tests.recall_plugin.serving import ASKED, PACKAGED, client_of, picture, refusal


@pytest.fixture(scope="module")
def channel() -> Says:
    return finds("new", "b")


@pytest.fixture(scope="module")
def log() -> InMemoryEventLog:
    return InMemoryEventLog()


@pytest.fixture(scope="module")
def client(channel: Says, log: InMemoryEventLog) -> Iterator[httpx.Client]:
    with client_of(channel, log=log, environment={"grace_ms": 10_000}) as made:
        yield made


def recall(client: httpx.Client, **fields: Any) -> httpx.Response:
    body = {name: value for name, value in (ASKED | fields).items() if value is not None}
    return client.post("/recall", json=body)


def last(channel: Says) -> ChannelRequest:
    return channel.requests[-1]


def test_treatment_gets_its_base_first_and_then_what_was_recalled(
    client: httpx.Client, log: InMemoryEventLog
) -> None:
    """With the rank that each channel gave, and what the channel said."""
    said = recall(client, query_id="q-1").json()

    assert ["a", "b", "new"] == [item["product_id"] for item in said["items"]]
    assert [{"base": 1}, {"base": 2, "uniecs": 2}, {"uniecs": 1}] == [item["ranks"] for item in said["items"]]
    assert ("q-1", "treatment", "assigned", False, True) == tuple(
        said[name] for name in ("query_id", "variant", "reason", "degraded", "triggered")
    )
    assert ("ok", 2, "products_v1", "hash-1") == tuple(
        said["channels"]["uniecs"][name] for name in ("status", "found", "index_version", "model_id")
    )
    assert "q-1" in [exposure.query_id for exposure in log.exposures]


def test_control_gets_its_base_and_no_channel_is_asked(client: httpx.Client, channel: Says) -> None:
    """Whatever is in it, in its order."""
    asked, base = len(channel.requests), [f"p{n}" for n in range(300)] + ["p1"]
    said = recall(client, unit_id=UNTREATED, base=base).json()

    assert base == [item["product_id"] for item in said["items"]]
    assert ("control", {}, asked) == (said["variant"], said["channels"], len(channel.requests))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_an_image_is_searched_by_its_bytes_and_by_what_an_upload_answered(
    client: httpx.Client, channel: Says, kind: str
) -> None:
    """With text or without; the channel sees the very bytes."""
    image = picture(kind)
    uploaded = client.post("/uploads", content=image)
    assert 201 == uploaded.status_code
    assert {"width": 8, "height": 8, "format": kind} == {
        name: uploaded.json()[name] for name in ("width", "height", "format")
    }

    recall(client, text=None, image=base64.b64encode(image).decode())
    assert (image, "image") == (last(channel).query.image, last(channel).query.kind)
    recall(client, image_id=uploaded.json()["image_id"])
    assert (image, "both") == (last(channel).query.image, last(channel).query.kind)


def test_what_is_similar_to_a_product_is_asked_by_its_id(client: httpx.Client, channel: Says) -> None:
    """Without text and image."""
    recall(client, text=None, similar_to="mug-1")

    assert "mug-1" == last(channel).query.similar_to


def test_filters_reach_the_channel_and_hold_for_what_it_answers(client: httpx.Client, channel: Says) -> None:
    """Pushed down, and checked again on every product."""
    said = recall(client, filters={"category": "cups", "price_max": 9.5, "in_stock": True}, limit=7).json()

    assert Filter(category="cups", price_max=9.5, in_stock=True) == last(channel).query.filters
    assert 7 == last(channel).limit
    assert ["a", "b"] == [item["product_id"] for item in said["items"]]


def test_the_wait_is_the_requests_own() -> None:
    """A channel that hangs costs what the host allows and no more: the base, and `degraded`."""
    with client_of(Hangs("late")) as client:
        said = recall(client, wait_ms=1).json()

    assert ["a", "b"] == [item["product_id"] for item in said["items"]]
    assert (True, "timeout") == (said["degraded"], said["channels"]["uniecs"]["status"])


def raises(_: ChannelRequest) -> Any:
    raise ZeroDivisionError


@pytest.mark.parametrize("channel", [Says(raises), Says(lambda _: None)], ids=["raises", "nonsense"])
def test_with_the_channel_broken_the_funnel_gets_its_own(channel: Channel) -> None:
    """Always 200 and the base."""
    with client_of(channel) as client:
        said = recall(client).json()

    assert ["a", "b"] == [item["product_id"] for item in said["items"]]
    assert "error" == said["channels"]["uniecs"]["status"]


def zip_bomb() -> bytes:
    out = BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("photo.png", bytes(30_000_000))
    return out.getvalue()


def png_bomb() -> bytes:
    """A few kilobytes that say they are four gigapixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 65_500, 65_500, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(10_000_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


NO_PICTURES = {
    "svg": (
        b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "no whole JPEG",
    ),
    "zip bomb": (zip_bomb(), "no whole JPEG"),
    "png bomb": (png_bomb(), "at most 40000000 pixels are read"),
    "large": (picture("PNG", (8_000, 6_000)), "8000 x 6000 pixels, at most 40000000"),
    "cut off": (picture("JPEG", (400, 400))[:600], "no whole JPEG"),
    "html": (b"<html>", "no whole JPEG"),
    "tiff": (picture("TIFF"), "no whole JPEG"),
    "empty": (b"", "no whole JPEG"),
}


@pytest.mark.parametrize("name", NO_PICTURES)
def test_what_is_no_photo_is_refused_wherever_it_comes_in(client: httpx.Client, name: str) -> None:
    """One sentence, and the service goes on."""
    content, says = NO_PICTURES[name]

    assert says in refusal(client.post("/uploads", content=content), 422)
    if content:
        encoded = base64.b64encode(content).decode()
        assert says in refusal(recall(client, image=encoded), 422)
    assert 200 == recall(client).status_code


@pytest.mark.parametrize("path", ["/uploads", "/recall"])
def test_an_upload_of_50_mb_is_refused(client: httpx.Client, path: str) -> None:
    """Read to its end, so that the client can read the answer, and thrown away."""
    headers = {"content-type": "application/json"}
    answer = client.post(path, content=bytes(50_000_000), headers=headers)

    assert "has 50000000 bytes, at most" in refusal(answer, 413)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/photo.jpg",
        "http://localhost:8080/photo.jpg",
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.7/photo.jpg",
        "http://[::1]/photo.jpg",
        "http://[::ffff:127.0.0.1]/photo.jpg",
        "http://2130706433/photo.jpg",
        "file:///etc/passwd",
        "gopher://example.com/",
    ],
)
def test_an_image_at_a_private_address_is_not_fetched(client: httpx.Client, url: str) -> None:
    """Whatever it is written as."""
    assert "image_url: " in refusal(recall(client, text=None, image_url=url), 422)


def test_an_image_is_fetched_from_where_the_shop_allows(
    monkeypatch: pytest.MonkeyPatch, channel: Says
) -> None:
    """From listed hosts, if only those; from nowhere, if so; and it is checked like any other."""
    files = {"/photo.png": picture(), "/drawing.svg": b"<svg/>"}

    class Shelf(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = files.get(self.path)
            self.send_response(404 if found is None else 200)
            self.end_headers()
            self.wfile.write(found or b"")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Shelf) as shop:
        threading.Thread(target=shop.serve_forever, daemon=True).start()
        host = f"127.0.0.1:{shop.server_port}"
        monkeypatch.setenv("PICTURE_WEB", "listed")
        monkeypatch.setenv("PICTURE_HOSTS", f"cdn.example, {host}")
        monkeypatch.setattr("recall_plugin.service.images.FETCH_WITHIN_S", PATIENCE_S)
        with client_of(channel) as client:
            found = recall(client, text=None, image_url=f"http://{host}/photo.png")
            drawing = recall(client, image_url=f"http://{host}/drawing.svg")
            missing = recall(client, image_url=f"http://{host}/none.png")
            elsewhere = recall(client, image_url="http://127.0.0.1:1/photo.png")
        shop.shutdown()
    monkeypatch.setenv("PICTURE_WEB", "off")
    with client_of() as client:
        off = recall(client, image_url="http://cdn.example/photo.png")

    assert 200 == found.status_code
    assert picture() in [request.query.image for request in channel.requests]
    for answer in (drawing, missing, elsewhere):
        assert "image_url: " in refusal(answer, 422)
    assert "PICTURE_WEB is off" in refusal(off, 422)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"text": "x" * 10_240}, "length <= 2000"),
        ({"text": "语" * 3_500}, "length <= 2000"),
        ({"limit": 10**9}, "<= 1000"),
        ({"limit": 0}, ">= 1"),
        ({"limit": 2.5}, "Expected `int"),
        ({"filters": {"colour": "red"}}, "unknown field `colour`"),
        ({"filters": {"price_min": -1}}, ">= 0"),
        ({"filters": {"price_min": "cheap"}}, "price_min"),
        ({"colour": "red"}, "unknown field `colour`"),
        ({"text": None}, "neither text nor image"),
        ({"text": "  "}, "neither text nor image"),
        ({"similar_to": "mug"}, "text and image must be absent"),
        ({"image": "///"}, "base64"),
        ({"image_id": "x", "image_url": "http://example.com"}, "give one of them"),
        ({"unit_id": ""}, "unit_id"),
        ({"unit_id": 7}, "unit_id"),
        ({"base": None}, "missing required field `base`"),
        ({"base": ["x"] * 10_001}, "length <= 10000"),
        ({"base": [7]}, "base"),
        ({"wait_ms": 1e9}, "<= 10000"),
        ({"wait_ms": -1}, ">= 0"),
        ({"attributes": {"region": ["cn"]}}, "attributes"),
    ],
)
def test_a_question_against_a_rule_is_refused_in_one_sentence(
    client: httpx.Client, fields: dict[str, Any], says: str
) -> None:
    """The value or the field, and the rule; never half an answer."""
    body = {name: value for name, value in (ASKED | fields).items() if value is not None}
    answer = client.post("/recall", json=body)

    assert says in refusal(answer, 422)


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"{", {"content-type": "application/json"}, 400),
        (b"\xff\xfe", {"content-type": "application/json"}, 400),
        (b'{"text": "\\ud800"}', {"content-type": "application/json"}, 400),
        (b'{"text": NaN}', {"content-type": "application/json"}, 400),
        (b"[" * 100_000, {"content-type": "application/json"}, 422),
        (b"{}", {"content-type": "application/json"}, 422),
        (b"[]", {"content-type": "application/json"}, 422),
        (b"{}", {"content-type": "text/plain"}, 415),
        (b"{}", {}, 415),
        (b"{}", {"content-type": "application/json", "content-encoding": "gzip"}, 415),
    ],
)
def test_a_body_that_is_no_question_is_refused(
    client: httpx.Client, content: bytes, headers: dict[str, str], status: int
) -> None:
    """By what is wrong with it."""
    refusal(client.post("/recall", content=content, headers=headers), status)


def test_other_methods_and_forgotten_images_are_refused(client: httpx.Client) -> None:
    """405 names the right one."""
    answer = client.get("/recall")

    assert "POST to it" in refusal(answer, 405)
    assert "POST" == answer.headers["allow"]
    assert "upload the image again" in refusal(recall(client, image_id="nothing"), 404)


SECRET = "of the shop's own testers"  # noqa: S105


def override(**fields: Any) -> str:
    now = datetime.now(UTC)
    told: dict[str, Any] = {
        "experiment": "uniecs-recall",
        "variant": "treatment",
        "until": now + timedelta(hours=1),
    }
    return sign_override(Override(**told | fields), SECRET, now=now)


def test_a_tester_sees_the_variant_of_choice_and_is_never_logged() -> None:
    """By a signed header, on both paths."""
    log = InMemoryEventLog()
    headers = {"x-recall-override": override(unit_id=UNTREATED)}
    with client_of(environment={"override_secret": SECRET}, log=log) as client:
        said = client.post("/recall", json=ASKED | {"unit_id": UNTREATED}, headers=headers).json()

    assert ("treatment", "override") == (said["variant"], said["reason"])
    assert [] == log.exposures


@pytest.mark.parametrize(
    ("token", "says"),
    [
        ("treatment", "is not signed"),
        ("o1.WyJ1bmllY3MtcmVjYWxsIl0.AAAA", "signature is not ours"),
        (override(variant="other"), "names variant 'other'"),
        (override(experiment="other"), "experiment 'other'"),
        (override(unit_id="somebody"), "'somebody', not for this one"),
    ],
    ids=["unsigned", "forged", "variant", "experiment", "unit"],
)
def test_an_override_that_does_not_hold_is_refused(token: str, says: str) -> None:
    """The host serves its base; nobody leaves an experiment by a header."""
    with client_of(environment={"override_secret": SECRET}) as client:
        answer = client.post("/recall", json=ASKED, headers={"x-recall-override": token})

    assert says in refusal(answer, 403)


def test_attributes_reach_the_experiments_targeting(tmp_path: Path) -> None:
    """Whoever is not meant gets control."""
    rule = '\n[[targeting]]\nattribute = "region"\nis_in = ["cn"]\n'
    (tmp_path / PACKAGED.name).write_text(PACKAGED.read_text() + rule)
    with client_of(environment={"experiments": tmp_path}) as client:
        variants = [
            recall(client, attributes=attributes).json()["variant"]
            for attributes in ({"region": "cn", "app_version": 12, "beta": True}, {"region": "eu"}, None)
        ]

    assert ["treatment", "control", "control"] == variants
