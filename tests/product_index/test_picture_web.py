"""One picture over HTTP: from whom, how large, how long."""

import functools
import socket
import ssl
import threading
import traceback
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from product_index import picture_connection
from product_index.errors import HostAway, PictureMissing, PictureUnavailable
from product_index.picture_hosts import is_public
from product_index.picture_web import Fetched, WebRules, fetch
from product_index.pictures import MAX_PICTURE_BYTES

from .picture_host import BIG, PICTURE, PictureHost, picture_host

INSIDE = WebRules(inside=frozenset({"127.0.0.1"}), timeout_s=0.5)
PATIENT = WebRules(inside=frozenset({"127.0.0.1"}), timeout_s=30.0)
get = functools.partial(fetch, PATIENT)


@pytest.fixture(scope="module")
def serving() -> Iterator[PictureHost]:
    with picture_host() as host:
        yield host


@pytest.fixture
def host(serving: PictureHost) -> PictureHost:
    serving.asked.clear()
    serving.sent = 0
    return serving


@pytest.mark.parametrize("path", ["mug.jpg", "hop5", "mug.jpg?size=1&name=a b"])
def test_a_picture_is_fetched_through_redirects(host: PictureHost, path: str) -> None:
    assert PICTURE == get(host.url(path)).picture


def test_what_did_not_change_is_not_sent_again(host: PictureHost) -> None:
    known = get(host.url("mug.jpg"))

    assert known is get(host.url("mug.jpg"), known=known)
    assert PICTURE == get(host.url("mug.jpg"), known=Fetched(picture=b"old", etag='"cup"')).picture


@pytest.mark.parametrize(
    ("path", "pattern"),
    [("nothing.jpg", "404"), ("forbidden", "403"), ("page", "no picture but text/html"),
     ("empty", "no picture"), ("loop", "redirected more than 5 times"), ("to-private", r"10\.11\.12\.13"),
     ("to-metadata", r"169\.254\.169\.254"), ("to-file", "no http or https"),
     ("to-localhost", "PICTURE_HOSTS")],
)  # fmt: skip
def test_what_will_not_come_is_missing(host: PictureHost, path: str, pattern: str) -> None:
    """Asking again would not help: a stream that waited would wait for ever."""
    with pytest.raises(PictureMissing, match=pattern):
        get(host.url(path))


@pytest.mark.parametrize("path", ["big", "endless"])
def test_a_body_of_50_mb_is_not_read(host: PictureHost, path: str) -> None:
    with pytest.raises(PictureMissing, match=f"at most {MAX_PICTURE_BYTES}"):
        get(host.url(path))

    assert host.sent < BIG


@pytest.mark.parametrize(
    ("path", "kind"),
    [("hang", HostAway), ("drip-headers", HostAway), ("busy", HostAway), ("flaky.jpg", HostAway),
     ("short", PictureUnavailable), ("broken", PictureUnavailable)],
)  # fmt: skip
def test_what_may_come_later_is_worth_another_try(
    host: PictureHost, path: str, kind: type[PictureUnavailable]
) -> None:
    """And whether the whole host is away, or only this picture."""
    with pytest.raises(PictureUnavailable) as raised:
        fetch(INSIDE if path in {"hang", "drip-headers"} else PATIENT, host.url(path))

    assert kind is type(raised.value)


def test_a_body_that_drips_is_given_up_and_its_host_is_not_away(host: PictureHost) -> None:
    """Within a time in which this machine, however busy, gets as far as the body."""
    for timeout_s in (0.5, 2.0, 8.0, 32.0):
        with pytest.raises(PictureUnavailable) as raised:
            fetch(replace(INSIDE, timeout_s=timeout_s), host.url("drip"))
        if not isinstance(raised.value, HostAway):
            return
    pytest.fail("the host answers, and is said to be away")


def test_a_host_that_refuses_or_has_no_name_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """No name: the resolver may be what is broken."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(HostAway, match="does not answer"):
            get(f"http://127.0.0.1:{port}/mug.jpg")

    def no_name(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_name)
    with pytest.raises(HostAway, match="not known"):
        get("http://no-such-host.invalid/mug.jpg")


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.8.8.8", "0.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254",
     "100.64.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1", "::1", "::", "fe80::1%eth0", "fc00::1",
     "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "2002:a00:1::", "64:ff9b::7f00:1",
     "64:ff9b::a9fe:a9fe"],
)  # fmt: skip
def test_an_address_inside_is_not_public_however_it_is_written(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "64:ff9b::808:808"])
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "name", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]"]
)
def test_a_private_address_is_refused_before_anything_is_sent(
    host: PictureHost, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever spelling the resolver takes."""
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("it was connected to"))

    with pytest.raises((PictureMissing, HostAway)) as raised:
        fetch(WebRules(), f"http://{name}:{host.server_address[1]}/mug.jpg")

    assert isinstance(raised.value, PictureMissing) or "not known" in str(raised.value)


def test_the_address_that_was_judged_is_the_one_that_is_asked(
    host: PictureHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that answers with a public address first and a private one a moment later gains nothing."""
    answers = iter(["8.8.8.8", "127.0.0.1"])
    tried = []

    def resolve(_name: str, port: int, **_: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    def connect(_self: socket.socket, address: tuple[str, int]) -> None:
        tried.append(address[0])
        raise OSError("no route in this test")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket.socket, "connect", connect)
    with pytest.raises(HostAway):
        fetch(WebRules(), f"http://rebinding.example:{host.server_address[1]}/mug.jpg")

    assert ["8.8.8.8"] == tried


def test_only_listed_hosts_are_asked_where_that_is_said(host: PictureHost) -> None:
    rules = WebRules(inside=frozenset({host.name}), only_inside=True)

    assert PICTURE == fetch(rules, host.url("mug.jpg")).picture
    with pytest.raises(PictureMissing, match=r"'example.org' is not listed.*PICTURE_HOSTS"):
        fetch(rules, "https://example.org/mug.jpg")


@pytest.mark.parametrize(
    "url", ["http://shop:s3cret@127.0.0.1/mug.jpg", "http:///mug.jpg", "http://[::1/mug.jpg", "ftp://a/b",
            "http://a:99999/x", "http://" + "a" * 300 + "/x"],
)  # fmt: skip
def test_an_address_that_is_none_is_missing(url: str) -> None:
    with pytest.raises(PictureMissing) as raised:
        get(url)

    assert "s3cret" not in str(raised.value)


def test_a_signature_in_the_address_is_not_told(host: PictureHost) -> None:
    signed = host.url("page?signature=") + "".join(["s3", "cret"])  # apart: the trace has this line
    with pytest.raises(PictureMissing) as raised:
        get(signed)

    assert "s3cret" not in "".join(traceback.format_exception(raised.value))


def test_a_name_that_hangs_ends_with_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The resolver has no time limit of its own."""
    answered = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answered.wait())

    with pytest.raises(HostAway, match="no answer within"):
        fetch(INSIDE, "http://slow-name.example/mug.jpg")

    answered.set()


def make_certificate(folder: Path, name: str) -> Path:
    """A key, and a certificate of its own making for one name."""
    x509 = pytest.importorskip("cryptography.x509", reason="cryptography is not installed")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    whose = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(whose, whose, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / f"{name}.pem").write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return folder / f"{name}.pem"


def test_over_tls_the_name_is_checked_though_the_address_is_pinned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certificate that nobody signed, or of another name, is no answer."""
    rules = WebRules(inside=frozenset({"localhost"}), timeout_s=30.0)
    mine, other = make_certificate(tmp_path, "localhost"), make_certificate(tmp_path, "other.example")
    trusting = ssl.create_default_context()
    for certificate in (mine, other):
        trusting.load_verify_locations(certificate)
    for certificate, trusted, pattern in (
        (mine, True, None), (mine, False, "self.signed"), (other, True, "not valid for 'localhost'"),
    ):  # fmt: skip
        monkeypatch.setattr(
            picture_connection, "_tls", lambda yes=trusted: trusting if yes else ssl.create_default_context()
        )
        with picture_host(certificate) as host:
            url = f"https://localhost:{host.server_address[1]}/mug.jpg"
            if pattern is None:
                assert PICTURE == fetch(rules, url).picture
                continue
            with pytest.raises(HostAway, match=pattern):
                fetch(rules, url)
