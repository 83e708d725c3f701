"""Pictures in object stores, through fsspec."""
