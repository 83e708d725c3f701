"""Pictures in object stores (`s3:`, `gs:`, ...), through fsspec.

Only what lies under an address that was listed is read: a seller's row must
not name another bucket that our key happens to open. Keys and endpoints are
fsspec's own matter: its environment (FSSPEC_S3_KEY, ...), files and roles.
"""

import functools
from collections.abc import Sequence
from typing import Any

from .errors import InvalidSettings, PictureMissing, PictureUnavailable
from .picture_web import Fetched, looks_like_a_picture, shown, within
from .pictures import MAX_PICTURE_BYTES, too_large


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
        if not url.startswith(self._places) or ".." in url.split("/"):
            listed = ", ".join(self._places)
            raise PictureMissing(
                f"picture {shown(url)} is not under {listed}; list its place in PICTURE_STORES"
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
    found: bytes = _store(url.partition("://")[0]).cat_file(url, start=0, end=MAX_PICTURE_BYTES + 1)
    return found


@functools.cache
def _store(scheme: str) -> Any:
    import fsspec

    return fsspec.filesystem(scheme)


def _check_place(place: str) -> None:
    scheme, _, rest = place.partition("://")
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
