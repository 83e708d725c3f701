"""Everything experiments/ raises on purpose.

ExperimentsError
    InvalidExperiment      a definition breaks a rule: fix the file
    UnknownExperiment      no definition of that name
    InvalidUnit            an id that no language would hash alike
    InvalidOverride        a tester's token is unsigned, forged, expired or names nothing here
    InvalidEvent           an exposure or outcome breaks its contract
    InvalidData            logs or a table cannot be analysed as they are
"""


class ExperimentsError(Exception):
    """The root: catch it to catch everything this room raises on purpose."""


class InvalidExperiment(ExperimentsError):
    """A definition breaks a rule."""


class UnknownExperiment(ExperimentsError):
    """No definition of that name."""


class InvalidUnit(ExperimentsError):
    """A unit id is not text, is empty, or has no UTF-8 form."""


class InvalidOverride(ExperimentsError):
    """A tester's token is unsigned, forged, expired or names nothing here."""


class InvalidEvent(ExperimentsError):
    """An exposure or outcome breaks its contract."""


class InvalidData(ExperimentsError):
    """Logs or a table cannot be analysed as they are."""
