"""Pictures in object stores, through fsspec."""

from typing import Any


def filesystem(scheme: str, **options: Any) -> Any:
    """The filesystem of that scheme."""
    import fsspec

    return fsspec.filesystem(scheme, **options)
