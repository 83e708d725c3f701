"""Channels in a process of their own, behind a Unix socket.

A channel is Python, and Python shares one interpreter lock: an overloaded
channel on a thread took a funnel's p99 from 16 to 141 ms although nobody
waited for it; in another process, to 17 (docs/experiments-log.md). So the
funnel's process holds proxies, and this room's channels run beside it.

wire        what goes over the socket
client      a channel's proxy in the funnel's process
server      the process that holds the channels
starting    where the socket is; starting a sidecar that is not there
giving_way  the funnel goes first where both want a processor
"""
