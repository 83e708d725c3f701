"""The files of a pretrained model: in a folder, or fetched once from the hub; no torch."""

from pathlib import Path

from .errors import InvalidConfig


def is_folder(name: str) -> bool:
    """Whether a tower's name is a folder here; else it is taken for a name on the hub."""
    return Path(name).is_dir()


def file_of(name: str, file: str) -> Path | None:
    """Return a file of a model, None where the model has no such file.

    Raises:
        InvalidConfig: the model is neither a folder here nor on the hub.
    """
    if is_folder(name):
        path = Path(name) / file
        return path if path.is_file() else None
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError
    except ImportError as error:
        raise InvalidConfig(
            f"{name!r} is no folder, and the hub's client is not installed; "
            "give a folder, or install 'uniecs-online[towers]'"
        ) from error
    try:
        return Path(hf_hub_download(name, file))
    except EntryNotFoundError:
        return None
    except Exception as error:  # the network, a wrong name, a gated model
        raise InvalidConfig(
            f"{name!r} is no folder here, and the hub does not give it ({error}); give the folder of a model"
        ) from error
