"""Everything product_index/ raises on purpose.

ProductIndexError
    Invalid                    the caller is wrong: fix the input, then try again
        InvalidProduct         a product or a change breaks its contract
        InvalidCatalogue       a catalogue folder cannot be read as one
        InvalidVector          not finite, not unit, or of another dimension
        InvalidSettings        a setting is missing or contradicts another
        InvalidQuery           nothing to search for, or a limit out of range
        PictureMissing         no picture under that name, or none that may be read
    Unembeddable               this one product cannot become a vector: set it aside, go on
    Retryable                  the same call, later
        StoreUnavailable       the vector database did not answer
        PictureUnavailable     the place that keeps pictures did not answer
            HostAway           ... to anything: its other pictures need not be asked for now
        EncoderUnavailable     the encoder fails whatever it is given
        CatalogueUnavailable   the catalogue's database did not answer
        FolderUnavailable      the rebuild's folder takes no files: full, or gone
    ModelMismatch              encoder and collection differ: switch the channel off, never mix spaces
    CanaryRefused              the new collection is not fit to serve: the old one goes on
    ChangesLost                the log forgot changes that a new collection needs: begin a new rebuild
    Superseded                 a build that was begun later is served: this one is for nothing
    CollectionInUse            an alias points to it: move the alias first
    UnknownCollection          no collection or alias of that name
"""


class ProductIndexError(Exception):
    """The root: catch it to catch everything this room raises on purpose."""


class Invalid(ProductIndexError):
    """The input breaks a rule; the same input will always fail."""


class InvalidProduct(Invalid):
    """A product or a change breaks its contract."""


class InvalidCatalogue(Invalid):
    """A catalogue folder cannot be read as one."""


class InvalidVector(Invalid):
    """A vector is not finite, not of unit length, or of another dimension."""


class InvalidSettings(Invalid):
    """A setting is missing or contradicts another."""


class InvalidQuery(Invalid):
    """There is nothing to search for, or an option is out of range."""


class PictureMissing(Invalid):
    """No picture is under that name, or it may not be read; it may come later."""


class Unembeddable(ProductIndexError):
    """One product cannot become a vector; the others can."""

    def __init__(self, product_id: str, reason: str) -> None:
        super().__init__(f"product {product_id!r} cannot be embedded: {reason}")
        self.product_id = product_id
        self.reason = reason


class Retryable(ProductIndexError):
    """Nothing is wrong with the input: try the same call later."""


class StoreUnavailable(Retryable):
    """The vector database did not answer."""


class PictureUnavailable(Retryable):
    """The place that keeps pictures did not answer."""


class HostAway(PictureUnavailable):
    """The host of a picture answers nothing; whatever else it has, later."""


class EncoderUnavailable(Retryable):
    """The encoder fails whatever it is given."""


class CatalogueUnavailable(Retryable):
    """The catalogue's database did not answer."""


class FolderUnavailable(Retryable):
    """The folder of a rebuild takes no more files."""


class ModelMismatch(ProductIndexError):
    """The encoder and the collection belong to different vector spaces."""


class CanaryRefused(ProductIndexError):
    """A new collection failed its checks and is not served."""

    def __init__(self, collection: str, reasons: list[str]) -> None:
        super().__init__(f"collection {collection!r} is not fit to serve: {'; '.join(reasons)}")
        self.collection = collection
        self.reasons = reasons


class ChangesLost(ProductIndexError):
    """The log no longer keeps changes that came after the mark."""


class Superseded(ProductIndexError):
    """A build that was begun later is served already."""


class CollectionInUse(ProductIndexError):
    """An alias still points to the collection."""


class UnknownCollection(ProductIndexError):
    """No collection or alias has that name."""
