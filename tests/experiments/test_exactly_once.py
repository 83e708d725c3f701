"""Workers are killed and serve again: after deduping by id there is exactly one of each."""

from pathlib import Path

from benchmarks import exposures


def test_killed_workers_expose_everybody_exactly_once(tmp_path: Path) -> None:
    """The short form of `python -m benchmarks.exposures`, which serves a million."""
    found = exposures.run(tmp_path, requests=12_000, workers=2, kills=2)

    assert (2, 12_000, 3_000) == (found["kills"], found["exposures"], found["marks"])
    assert found["lines"] > 15_000  # some were told twice
    assert exposures.holds(found), found
