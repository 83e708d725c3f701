"""What a producer may get wrong, through a consumer on a real Kafka: set aside with what to do, and on."""

import http.server
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from product_index.build import build_pictures
from product_index.refresh import apply_changes
from product_index.settings import Settings
from streaming.change_log import Outgoing
from streaming.dead_letters import SUFFIX
from streaming.kafka import KafkaMessageSink, ensure_topics
from streaming.worker import Pace, Worker

from .making import NOON, Bench, change_json
from .members import behind, joined, read_all

pytestmark = pytest.mark.kafka


class Host(http.server.BaseHTTPRequestHandler):
    """A shop's picture host at its worst."""

    released = threading.Event()

    def do_GET(self) -> None:
        if self.path.startswith("/hangs"):
            self.released.wait(300)
        else:
            self.send_response(302)
            self.send_header("Location", self.path + "x")
            self.end_headers()

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def hosts() -> Iterator[list[str]]:
    """Two, for one that hangs is not asked for another picture at once."""
    Host.released.clear()
    with ExitStack() as stack:
        stack.callback(Host.released.set)
        yield [stack.enter_context(serving()) for _ in range(2)]


@contextmanager
def serving() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Host)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        Host.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


class ByAddress:
    """Pictures as a consumer reads them; who answers is waited for, however busy this machine."""

    def __init__(self, hosts: Sequence[str], folder: Path) -> None:
        of_both = Settings(picture_hosts=",".join(hosts), picture_cache=folder, picture_root=str(folder))
        patient = {"picture_timeout_s": 300.0, "picture_patience_s": 300.0}
        hurried = {"picture_timeout_s": 0.5, "picture_patience_s": 1.0}
        self._patient, self._hurried = (
            build_pictures(of_both.model_copy(update=told)) for told in (patient, hurried)
        )

    def read(self, uri: str) -> bytes:
        return (self._hurried if "hangs" in uri else self._patient).read(uri)


def only_a_picture(name: str, uri: str) -> tuple[bytes, bytes]:
    return name.encode(), change_json(name, title="", image_uris=[uri])


def test_each_is_set_aside_with_what_to_do_and_the_stream_goes_on(
    kafka_bootstrap: str, unique_name: Callable[[str], str], bench: Bench, hosts: list[str], tmp_path: Path
) -> None:
    """Good ones between; a product that has a text, too, is embedded from it."""
    bad: dict[str, tuple[bytes | None, bytes]] = {
        "publish one JSON object per message": (b"a", b"{no json"),
        "schema_version is 99, this program reads 1": (b"b", change_json("b", schema_version=99)),
        "op is 'swap', must be one of upsert, delete": (b"c", change_json("c", op="swap")),
        "there is no product_id": (b"d", change_json(...)),
        "version is '7', must be a whole number": (b"e", change_json("e", version="7")),
        "the message has no key": (None, change_json("f")),
        "is not waited for any longer": only_a_picture("g", f"http://{hosts[0]}/hangs.jpg"),
        "is redirected more than 5 times": only_a_picture("h", f"http://{hosts[1]}/moved.jpg"),
        "has the private address 127.0.0.1": only_a_picture("i", "http://localhost:9/x.jpg"),
        "has the private address 169.254.169.254": only_a_picture("j", "http://169.254.169.254/latest"),
    }
    connection: dict[str, Any] = {"bootstrap_servers": [kafka_bootstrap]}
    topic = unique_name("product-changes")
    ensure_topics(connection, [topic, topic + SUFFIX], partitions=1)
    sent = [(f"good-{n}".encode(), change_json(f"good-{n}")) for n in range(len(bad) + 1)]
    sent.append((b"text", change_json("text", image_uris=[f"http://{hosts[0]}/hangs.jpg"])))
    for place, one in enumerate(bad.values()):
        sent.insert(2 * place + 1, one)  # type: ignore[arg-type]
    pictures = ByAddress(hosts, tmp_path)
    arrivals: list[Any] = []
    with closing(KafkaMessageSink(connection)) as sink:
        sink.send([Outgoing(topic=topic, key=key, value=value) for key, value in sent])
        with closing(joined(connection, topic)) as log:
            Worker(
                changes=log,
                sink=sink,
                apply=lambda changes: apply_changes(changes, bench.encoder, bench.store, pictures, now=NOON),
                arrived=arrivals.extend,
                pace=Pace(batch_wait_s=0.2, idle_s=0.1, backoff_max_s=0.5),
            ).run(stop=lambda: len(arrivals) >= len(sent))

    dead = read_all(connection, topic + SUFFIX)
    reasons = [dict(letter.headers)["dead.reason"].decode() for letter in dead]
    for wanted, original in bad.items():
        (place,) = [at for at, reason in enumerate(reasons) if wanted in reason]
        assert original == (dead[place].key, dead[place].value)
    assert len(bad) + 2 == bench.store.count()
    assert 0 == behind(connection, topic)
