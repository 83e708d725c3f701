"""Everything uniecs/ raises on purpose.

UniecsError
    InvalidInput               the caller is wrong: fix the row or the file, then try again
        EmptyRow               neither text nor picture
        UnreadablePicture      the bytes are not a picture that may be read
        InvalidRows            a rows or pairs file breaks its contract; the message names the line
    InvalidConfig              a model or training setting breaks its rule
    InvalidModel               the folder is not a whole, matching, exported model
    TrainingStopped            training cannot go on (a loss that is not finite, a foreign checkpoint)
"""


class UniecsError(Exception):
    """The root: catch it to catch everything this room raises on purpose."""


class InvalidInput(UniecsError):
    """The input breaks a rule; the same input will always fail."""


class EmptyRow(InvalidInput):
    """A row has neither text nor picture."""


class UnreadablePicture(InvalidInput):
    """A picture's bytes cannot be read, or may not be.

    Attributes:
        reason: what is wrong, and what to give instead.
        row: which row of the call showed it, from 0; None outside a call with rows.
    """

    def __init__(self, reason: str, *, row: int | None = None) -> None:
        super().__init__(reason if row is None else f"row {row}: {reason}")
        self.reason = reason
        self.row = row


class InvalidRows(InvalidInput):
    """A rows or pairs file breaks its contract; the message names the line."""


class InvalidConfig(UniecsError):
    """A model or training setting breaks its rule."""


class InvalidModel(UniecsError):
    """A folder is not a whole exported model, or its files do not belong together."""


class TrainingStopped(UniecsError):
    """Training cannot go on."""
