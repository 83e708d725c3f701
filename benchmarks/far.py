"""A server that is a network away: what is sent to it, and what it answers, arrives later.

    python -m benchmarks.far PORT SERVER_PORT ONE_WAY_MS

Passes connections on loopback through. Order and bytes stay as they are, and
as much may be under way as anybody sends: only the time is added, each way.
"""

import asyncio
import sys
from contextlib import suppress

CHUNK_BYTES = 256 * 2**10


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, late_s: float) -> None:
    """Pass on what comes, each piece so much later."""
    clock, under_way = asyncio.get_running_loop(), asyncio.Queue[tuple[float, bytes]]()

    async def deliver() -> None:
        while True:
            due, piece = await under_way.get()
            await asyncio.sleep(max(0.0, due - clock.time()))
            if not piece:
                return
            writer.write(piece)
            await writer.drain()

    delivering = asyncio.create_task(deliver())
    with suppress(ConnectionError):
        while piece := await reader.read(CHUNK_BYTES):
            under_way.put_nowait((clock.time() + late_s, piece))
    under_way.put_nowait((clock.time() + late_s, b""))
    with suppress(ConnectionError):
        await delivering
    writer.close()


async def serve(port: int, server_port: int, late_s: float) -> None:
    """Pass connections through until cancelled."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", server_port)
        await asyncio.gather(carry(reader, back, late_s), carry(there, writer, late_s))

    async with await asyncio.start_server(connected, "127.0.0.1", port) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) / 1000))
