"""Pictures in object stores (`s3:`, `gs:`, ...), through fsspec.

Only what lies under an address that was listed is read: a seller's row must
not name another bucket that our key happens to open. Keys and endpoints are
fsspec's own matter: its environment (FSSPEC_S3_KEY, ...), files and roles.
"""

import errno
import functools
from collections.abc import Sequence
from typing import Any

from .errors import InvalidSettings, PictureMissing, PictureUnavailable
from .picture_hosts import shown
from .picture_web import Fetched, looks_like_a_picture
from .pictures import MAX_PICTURE_BYTES, too_large
from .waiting import within


class StorePictures:
    """Pictures under the listed addresses of object stores.

    Args:
        places: such as `s3://shop-pictures` or `gs://bucket/folder`.
        timeout_s: for one picture.

    Raises:
        InvalidSettings: a place is none, or its package is not installed.
    """

    def __init__(self, places: Sequence[str], *, timeout_s: float = 10.0) -> None:
        self._places = tuple(place.rstrip("/") + "/" for place in places)
        self._timeout_s = timeout_s
        for place in self._places:
            _check_place(place)

    @property
    def schemes(self) -> set[str]:
        """Whose addresses are ours."""
        return {place.partition("://")[0] for place in self._places}

    def __call__(self, url: str, *, known: Fetched | None = None) -> Fetched:
        """Return the picture; `known` cannot be asked about here.

        Raises:
            PictureMissing: there is none, or it lies elsewhere.
            PictureUnavailable: the store did not answer.
        """
        if not url.startswith(self._places) or ".." in url.split("/") or url.endswith("/"):
            listed = ", ".join(self._places)
            raise PictureMissing(
                f"picture {shown(url)} is no file under {listed}; correct it, or list it in PICTURE_STORES"
            )
        try:
            picture = within(self._timeout_s, lambda: _read(url))
        except (FileNotFoundError, IsADirectoryError) as error:
            raise PictureMissing(f"no picture {shown(url)}; check the name") from error
        except PermissionError as error:
            raise PictureMissing(
                f"picture {shown(url)} may not be read; give our key the right to"
            ) from error
        except Exception as error:  # whatever a store's client raises, or no answer in time
            raise PictureUnavailable(f"picture {shown(url)}: the store fails ({error!r})") from error
        if len(picture) > MAX_PICTURE_BYTES:
            raise PictureMissing(too_large(shown(url), len(picture)))
        if not looks_like_a_picture(picture[:16]):
            raise PictureMissing(f"picture {shown(url)} is no picture ({picture[:16]!r}); put one there")
        return Fetched(picture=picture)


def _read(url: str) -> bytes:
    try:
        found: bytes = store_of(url.partition("://")[0]).cat_file(url, start=0, end=MAX_PICTURE_BYTES + 1)
    except OSError as error:
        if error.errno == errno.EINVAL:  # S3's word for the first bytes of a file that has none
            return b""
        raise
    return found


@functools.cache
def store_of(scheme: str) -> Any:
    """The client of such a store; one for all threads, each of which fsspec would give its own."""
    import fsspec

    return fsspec.filesystem(scheme)


def _check_place(place: str) -> None:
    scheme, _, rest = place.partition("://")
    if "@" in rest:
        raise InvalidSettings(
            f"PICTURE_STORES has a place of {scheme!r} with a user or a key before its '@', which logs would "
            "show; give keys by the environment of the store's client (AWS_ACCESS_KEY_ID, ...)"
        )
    if not rest.strip("/") or scheme in {"file", "local", "http", "https"}:
        raise InvalidSettings(
            f"PICTURE_STORES has {place!r}, which is no place in an object store; write it like s3://bucket"
        )
    try:
        import fsspec

        fsspec.get_filesystem_class(scheme)
    except (ImportError, ValueError) as error:
        raise InvalidSettings(
            f"PICTURE_STORES has {place!r}: {error}; correct the address, or install "
            "uniecs-online[object-stores] and the store's own package"
        ) from error
