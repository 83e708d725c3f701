"""Whether anybody listens at a broker's addresses, asked before a client is opened.

Sockets only; nothing here speaks Kafka.
"""

import socket
import time
from collections.abc import Sequence

from .errors import InvalidSettings

CONNECT_TIMEOUT_S = 5.0
ASK_EVERY_S = 0.1


def wait_for_listener(addresses: Sequence[str], *, timeout_s: float) -> None:
    """Return as soon as one of the addresses accepts a connection.

    Args:
        addresses: each `host:port`.
        timeout_s: how long to go on asking.

    Raises:
        InvalidSettings: an address is not `host:port`, or there is none.
        OSError: the last refusal.
    """
    if not addresses:
        raise InvalidSettings("no address; set KAFKA_BOOTSTRAP to host:port")
    places = [_place(address) for address in addresses]
    give_up_at = time.monotonic() + timeout_s
    while True:
        for place in places:
            try:
                socket.create_connection(place, timeout=CONNECT_TIMEOUT_S).close()
            except OSError as error:
                refused = error
            else:
                return
        if time.monotonic() > give_up_at:
            raise refused
        time.sleep(ASK_EVERY_S)


def _place(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise InvalidSettings(f"address {address!r} must be host:port, with a port from 1 to 65535")
    return host.strip("[]"), int(port)
