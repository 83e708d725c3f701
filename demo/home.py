"""Where the demo keeps what it makes, and what its programs are told.

One folder holds everything; deleting it costs nothing but the time to make it
again. What an unfinished run left there is dealt with here, at the start.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .processes import StackError

# Shop, index, broker data, shards and archives of one run, with room to breathe.
NEEDED_MIB = 1_500
DEFAULT_HOME = Path(".demo")
MODEL = Path("demo/model")


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """The demo's folder, and the catalogue it is about.

    Attributes:
        folder: everything the demo writes is in it.
        catalogue: a folder of products.
        is_rendered: the catalogue is the demo's own shop, so the truth is known.
        model: the folder of the exported encoder.
    """

    folder: Path
    catalogue: Path
    is_rendered: bool
    model: Path

    @property
    def arrivals(self) -> Path:
        """Where pictures of changed products are written."""
        return self.folder / "pictures"

    @property
    def index(self) -> Path:
        """The folder of the embedded Milvus."""
        return self.folder / "index.db"

    @property
    def funnel(self) -> Path:
        """The SQLite file of the search the shop already has."""
        return self.folder / "funnel.sqlite"

    @property
    def event_logs(self) -> Path:
        """Exposures and outcomes, as Parquet by day."""
        return self.folder / "experiment-logs"

    @property
    def served(self) -> Path:
        """Exposures of the service, as JSON Lines; no report reads them."""
        return self.folder / "served"

    @property
    def reports(self) -> Path:
        """The weekly reports."""
        return self.folder / "reports"

    @property
    def truth(self) -> Path:
        """The planted effect: only a simulation knows it."""
        return self.folder / "truth.json"

    @property
    def freshness(self) -> Path:
        """How long each change took, written by the consumer."""
        return self.folder / "freshness.jsonl"

    def environment(self, *, picture_root: Path, milvus_uri: str, bootstrap: str = "") -> dict[str, str]:
        """What every program of the demo is told."""
        told = {
            "CATALOGUE": str(self.catalogue),
            "PICTURE_ROOT": os.pathsep.join((str(picture_root), str(self.arrivals))),
            "UNIECS_MODEL": str(self.model),
            "MILVUS_URI": milvus_uri,
            "REBUILD_FOLDER": str(self.folder / "rebuild"),
            "EXPERIMENT_LOGS": str(self.event_logs),
            "REPORTS": str(self.reports),
            "AIRFLOW_HOME": str((self.folder / "airflow").resolve()),
        }
        return told | ({"KAFKA_BOOTSTRAP": bootstrap} if bootstrap else {})


def open_home(environ: Mapping[str, str]) -> Home:
    """The demo's folder and catalogue, from DEMO_HOME, DEMO_CATALOGUE and UNIECS_MODEL.

    Raises:
        StackError: the catalogue is not there, the model is not, or the disk is full.
    """
    folder = Path(environ.get("DEMO_HOME", "").strip() or DEFAULT_HOME)
    named = environ.get("DEMO_CATALOGUE", "").strip()
    if named and not Path(named).exists():
        raise StackError(
            f"DEMO_CATALOGUE is {named!r}, which does not exist; name a folder with products.jsonl, .csv or "
            ".parquet, or unset it to have a shop rendered"
        )
    model = Path(environ.get("UNIECS_MODEL", "").strip() or MODEL)
    if not (model / "config.json").is_file():
        raise StackError(
            f"no encoder in {model}; restore the folder from the repository, or run `make train`"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free_mib = shutil.disk_usage(folder).free // 2**20
    except OSError as error:
        raise StackError(
            f"the demo's folder {folder} cannot be made ({error.strerror}); set DEMO_HOME to one that can"
        ) from error
    if free_mib < NEEDED_MIB:
        raise StackError(
            f"only {free_mib} MiB are free at {folder}, {NEEDED_MIB} are needed; free some, or set DEMO_HOME "
            "to a folder on another disk"
        )
    return Home(
        folder=folder,
        catalogue=Path(named) if named else folder / "shop",
        is_rendered=not named,
        model=model,
    )


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other runs out of the folder as long as this one lasts; the system frees it even after a kill.

    Raises:
        StackError: another run is using it, or nothing can be written there.
    """
    try:
        file = (folder / "run.lock").open("a+", encoding="utf-8")
    except OSError as error:
        raise StackError(
            f"nothing can be written in {folder} ({error.strerror}); set DEMO_HOME to a folder of your own"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip()
            raise StackError(
                f"another demo (pid {owner}) is using {folder}; wait for its end, end it with "
                f"`kill {owner}`, or set DEMO_HOME to another folder"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def clear_last_run(home: Home) -> None:
    """Remove what belongs to one run only; the shop and Airflow's database are kept."""
    made = (home.index, home.event_logs, home.served, home.reports, home.arrivals, home.folder / "rebuild")
    for path in made:
        shutil.rmtree(path, ignore_errors=True)
    for path in (home.funnel, home.truth, home.freshness):
        path.unlink(missing_ok=True)
    home.arrivals.mkdir(parents=True)
