"""One way to find products each.

A channel is an object with a name, `find` and `close`. To add one, declare a
function from `recall_plugin.settings.Settings` to a channel as an entry point:

    [project.entry-points."uniecs_online.channels"]
    similar_style = "their_package.channel:from_settings"

The entry point's name is the channel's name in experiment plans.
"""

from typing import Protocol

from recall_plugin.query import ChannelAnswer, ChannelRequest


class Channel(Protocol):
    """Finds products for a query.

    `find` is called on one of a few threads of the channel's own, several at a
    time. It may raise, hang or answer nonsense: the shopper gets the base.
    """

    @property
    def name(self) -> str:
        """As plans and provenance call it."""
        ...

    def find(self, request: ChannelRequest) -> ChannelAnswer:
        """Answer before the request's deadline, best first; give up after it."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
