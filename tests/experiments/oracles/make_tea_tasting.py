"""What tea-tasting says of some tables, for a Python that it runs on (3.12 or newer).

python3.12 -m pip install tea-tasting==2.0.0 pyarrow
python3.12 tests/experiments/oracles/make_tea_tasting.py > tests/experiments/oracles/tea_tasting.json
"""

import json
import sys

import pyarrow as pa
import tea_tasting as tt
from rows import table

SEEDS = range(12)


def told(seed: int) -> dict[str, dict[str, float]]:
    """Every number of every metric."""
    columns = table(seed)
    rows = pa.table(columns | {"variant": [int(it) for it in columns["variant"]]})
    experiment = tt.Experiment(
        revenue=tt.Mean("revenue"),
        ctr=tt.RatioOfMeans("clicks", "searches"),
        revenue_adjusted=tt.Mean("revenue", covariate="revenue_before"),
        ctr_adjusted=tt.RatioOfMeans(
            "clicks", "searches", numer_covariate="clicks_before", denom_covariate="searches_before"
        ),
        split=tt.SampleRatio(method="norm", correction=False),
    )
    found = experiment.analyze(rows)
    return {
        name: {key: float(value) for key, value in result._asdict().items() if isinstance(value, int | float)}
        for name, result in found.items()
    }


if __name__ == "__main__":
    told_all = {"tea-tasting": tt.__version__, "tables": {str(seed): told(seed) for seed in SEEDS}}
    json.dump(told_all, sys.stdout, indent=1)
    print()
