"""Everything recall_plugin/ raises on purpose.

RecallPluginError
    InvalidQuery           the shopper's question breaks a bound: tell the shopper
    InvalidPlan            an experiment's plan breaks a rule: fix the definition
    InvalidSettings        a setting is missing or contradicts another
    BrokenChannel          a channel could not be loaded, and the settings say strict
    SidecarAway            nothing answers at the sidecar's socket: the base is served, start one
    SidecarLost            it went away in the middle of a question
    AlreadyRunning         another sidecar holds the socket
    BadMessage             one side of the socket cannot read the other: install one version on both

None of these is raised by `recall` itself: queries, plans, settings and
channels are checked where they are made, and a request finds them sound.
"""


class RecallPluginError(Exception):
    """The root: catch it to catch everything this room raises on purpose."""


class InvalidQuery(RecallPluginError):
    """A question that no channel could take."""


class InvalidPlan(RecallPluginError):
    """A variant's plan breaks a rule."""


class InvalidSettings(RecallPluginError):
    """A setting is missing or contradicts another."""


class BrokenChannel(RecallPluginError):
    """A channel's entry point could not be loaded or built."""


class SidecarAway(RecallPluginError):
    """Nothing answers at the sidecar's socket."""


class SidecarLost(RecallPluginError):
    """The sidecar went away in the middle of a question."""


class AlreadyRunning(RecallPluginError):
    """Another sidecar holds the socket."""


class BadMessage(RecallPluginError):
    """The other side of a sidecar's socket says something that cannot be read."""
