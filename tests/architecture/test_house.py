"""The house keeps its floors, its doors and its names."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ["uniecs", "experiments", "product_index", "recall_plugin", "streaming"]
HEAVY = ["torch", "pymilvus", "onnxruntime", "airflow", "duckdb"]
# Import names that well-known distributions on PyPI own: none may be in our wheel.
OWNED_BY_OTHERS = {"streaming", "dags", "demo", "kafka", "tests", "examples", "benchmarks", "docs", "scripts"}


def loaded_after(statement: str, watched: list[str]) -> list[str]:
    """Which of the watched modules a fresh interpreter has loaded after the statement."""
    code = f"{statement}\nimport sys\nprint(*[name for name in {watched!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert 0 == done.returncode, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("module", [*ROOMS, "recall_plugin.plugin", "streaming.worker", "streaming.__main__"])
def test_importing_a_room_loads_no_heavy_client(module: str) -> None:
    """A search service that loads the plugin pays for neither torch nor Airflow."""
    assert [] == loaded_after(f"import {module}", HEAVY)


@pytest.mark.airflow
@pytest.mark.parametrize(
    "dag", sorted(path.stem for path in (ROOT / "dags").glob("*.py") if path.stem[0] != "_")
)
def test_parsing_a_dag_loads_no_heavy_client(dag: str, tmp_path: Path) -> None:
    """Airflow parses these files again and again; parsing must cost nothing."""
    statement = f"import os; os.environ['AIRFLOW_HOME'] = {str(tmp_path)!r}; import dags.{dag}"

    assert [] == loaded_after(statement, ["torch", "pymilvus", "onnxruntime", "duckdb", "pandas"])


def test_imports_point_down_and_every_client_has_one_door() -> None:
    """import-linter holds the contracts of pyproject.toml."""
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )

    assert 0 == done.returncode, done.stdout + done.stderr


def test_the_wheel_carries_no_name_that_others_own() -> None:
    """`streaming` belongs to another distribution; ours stays out of the wheel."""
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    tops = {package.split(".")[0] for package in packages}

    assert {"uniecs", "experiments", "product_index", "recall_plugin"} == tops
    assert not tops & OWNED_BY_OTHERS


def test_every_folder_of_a_wheel_room_is_packaged() -> None:
    """A sub-package that is forgotten works here and breaks where it is installed."""
    packages = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {
        ".".join(init.parent.relative_to(ROOT).parts)
        for room in ("uniecs", "experiments", "product_index", "recall_plugin")
        for init in (ROOT / room).rglob("__init__.py")
    }

    assert found == packages


def test_files_have_one_subject() -> None:
    """A file over 400 lines is two."""
    folders = [*ROOMS, "dags", "demo"]
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
    }

    assert {} == {name: lines for name, lines in lengths.items() if lines > 400}


def test_every_module_says_what_it_is_for() -> None:
    """The first statement of each file is its docstring."""
    silent = [
        str(path.relative_to(ROOT))
        for folder in [*ROOMS, "dags", "demo"]
        for path in (ROOT / folder).rglob("*.py")
        if not path.read_text().lstrip().startswith('"""')
    ]

    assert [] == silent


def test_constraints_name_versions_only() -> None:
    """The lock says which version, never where from."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()

    assert [] == [
        line for line in lines if line.strip() and ("==" not in line or "://" in line or "@" in line)
    ]
