"""Settings for somebody who tries the console: definitions and switches of their own, nothing to set."""

import shutil
from importlib import resources
from pathlib import Path

from pydantic import SecretStr

from recall_plugin.errors import InvalidSettings
from recall_plugin.settings import Settings

FOLDER = "console"


def check_index(milvus_uri: str) -> None:
    """Refuse to look at an index that is not there: opening it would make an empty one.

    Raises:
        InvalidSettings: it is a folder, and does not exist.
    """
    if milvus_uri.endswith(".db") and "://" not in milvus_uri and not Path(milvus_uri).exists():
        raise InvalidSettings(
            f"there is no index at MILVUS_URI={milvus_uri}; `make demo` makes one, or set MILVUS_URI to yours"
        )


def settings_for_trying(settings: Settings, folder: Path, *, token: str) -> Settings:
    """The settings, with channels in this process, and what is steered written under the folder.

    Raises:
        InvalidSettings: nothing can be written there.
    """
    own = folder / FOLDER
    definitions = own / "experiments"
    try:
        definitions.mkdir(parents=True, exist_ok=True)
        for packaged in resources.files("experiments.definitions").iterdir():
            if packaged.name.endswith(".toml") and not (definitions / packaged.name).exists():
                with resources.as_file(packaged) as file:
                    shutil.copyfile(file, definitions / packaged.name)
    except OSError as error:
        raise InvalidSettings(
            f"nothing can be written in {own} ({error.strerror}); give another --folder"
        ) from error
    return settings.model_copy(
        update={
            "channels_in": "process",
            "experiments": settings.experiments or definitions,
            "switches": settings.switches or own / "switches.toml",
            "token": SecretStr(settings.token.get_secret_value() or token),
        }
    )
