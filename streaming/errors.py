"""Everything streaming/ raises on purpose.

StreamingError
    InvalidSettings        a setting is missing or contradicts another: fix it, start again
    Retryable              the same call, later
        LogUnavailable     the broker did not answer
    OwnershipLost          another consumer has the partition now: forget the batch, go on
        Evicted            ... and may have had it while we wrote: make good what may be older
    Refused                the broker says no: wrong credentials, no such topic, too large
    Unreadable             set the message aside, go on
        UnknownSchema      written for another version of this program
    ArchiveError           the folder of the archive is in use, or was tampered with
"""


class StreamingError(Exception):
    """The root: catch it to catch everything this room raises on purpose."""


class InvalidSettings(StreamingError):
    """A setting is missing or contradicts another."""


class Retryable(StreamingError):
    """Nothing is wrong with the input: try the same call later."""


class LogUnavailable(Retryable):
    """The broker did not answer."""


class OwnershipLost(StreamingError):
    """Another consumer has the partition; what was done is harmless, it will be done again."""


class Evicted(OwnershipLost):
    """The group gave this member up without a word; what it wrote since may have been late."""


class Refused(StreamingError):
    """The broker answered, and the answer is no; the same call will always fail."""


class Unreadable(StreamingError):
    """A message that no retry can make sense of; set it aside, go on."""


class UnknownSchema(Unreadable):
    """A message of a schema version that this program does not know."""


class ArchiveError(StreamingError):
    """The folder of the archive is in use by another, or not as it was left."""
