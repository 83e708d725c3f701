"""What is Milvus' alone: the folder's lock, cut values, filters in its language."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from product_index.errors import InvalidSettings, StoreUnavailable
from product_index.milvus import MilvusVectorDatabase
from product_index.milvus_rows import expression
from product_index.vector_store import Filter
from tests.product_index.rows import SPEC, row, unit

pytestmark = pytest.mark.milvus

HOLD = """
import sys
from product_index.milvus import MilvusVectorDatabase
MilvusVectorDatabase(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


def test_a_folder_that_another_process_holds_is_said_in_one_sentence(tmp_path: Path) -> None:
    """And it is free as soon as that process lets go."""
    folder = str(tmp_path / "index.db")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    with holder:
        assert b"held\n" == holder.stdout.readline()
        with pytest.raises(StoreUnavailable, match=r"another process holds it.*MILVUS_URI"):
            MilvusVectorDatabase(folder)
        holder.stdin.close()

    MilvusVectorDatabase(folder).close()


def test_closing_frees_the_folder_for_another_process(tmp_path: Path) -> None:
    """The last of this process to close; what was written is there for the next."""
    folder = str(tmp_path / "index.db")
    first, second = MilvusVectorDatabase(folder), MilvusVectorDatabase(folder)
    first.create("products_v1", SPEC).upsert([row("mug", seed=4)])
    first.close()
    assert 1 == second.open("products_v1").count()
    second.close()

    reading = "import sys; from product_index.milvus import MilvusVectorDatabase as D; d = D(sys.argv[1]); "
    reading += "print(d.open('products_v1').get(['mug'])['mug'].vector.tobytes().hex()); d.close()"
    answer = subprocess.run(
        [sys.executable, "-c", reading, folder], capture_output=True, text=True, check=True
    )

    assert unit(4).tobytes().hex() == answer.stdout.strip()


def test_a_server_that_is_not_there_is_said_within_the_timeout() -> None:
    with pytest.raises(StoreUnavailable, match=r"http://127.0.0.1:9"):
        MilvusVectorDatabase("http://127.0.0.1:9", timeout_s=1.0)


def test_an_address_that_is_neither_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"ending in \.db"):
        MilvusVectorDatabase(str(tmp_path / "index"))


def test_long_values_are_cut_on_a_characters_boundary(tmp_path: Path) -> None:
    """And a filter by the whole value still finds the row."""
    database = MilvusVectorDatabase(str(tmp_path / "index.db"))
    store = database.create("products_v1", SPEC)
    store.upsert([row("mug", title="é" * 2_000, brand="杯" * 200)])

    stored = store.get(["mug"])["mug"]
    hits = store.search(unit(0)[None], limit=1, where=Filter(brand="杯" * 200))[0]
    database.close()

    assert "é" * 512 == stored.title
    assert "杯" * 85 == stored.brand
    assert ["mug"] == [hit.product_id for hit in hits]


def test_the_filter_in_milvus_language() -> None:
    where = Filter(category='a"b\\', price_min=1.5, price_max=9, in_stock=True)

    assert (
        'deleted == false and category == "a\\"b\\\\" and in_stock == true and price >= 1.5 and price <= 9.0'
        == expression(where)
    )


def test_a_folder_in_the_environment_does_not_break_the_client(tmp_path: Path) -> None:
    """Pymilvus reads MILVUS_URI by itself when it is imported, and knows no folders there."""
    done = subprocess.run(
        [sys.executable, "-c", "import os, product_index.milvus; print(os.environ['MILVUS_URI'])"],
        env={**os.environ, "MILVUS_URI": ".demo/index.db"}, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert ".demo/index.db" == done.stdout.strip()


FIRST = """
import sys
from tests.product_index.rows import SPEC, row, unit
from product_index.milvus import MilvusVectorDatabase
database = MilvusVectorDatabase(sys.argv[1])
store = database.create("products_v1", SPEC)
connected = set(sys.modules)
store.upsert([row("mug", seed=4)])
assert "mug" == store.search(unit(4)[None], limit=1)[0][0].product_id
late = {name.partition(".")[0] for name in set(sys.modules) - connected}
database.close()
print(sorted(late & {"scipy", "pandas", "pymilvus"}))
"""


def test_what_the_client_loads_is_loaded_when_it_connects(tmp_path: Path) -> None:
    """It used to load SciPy at the first row: the first changes of a stream waited half a second."""
    answer = subprocess.run(
        [sys.executable, "-c", FIRST, str(tmp_path / "index.db")], capture_output=True, text=True, check=True
    )

    assert "[]" == answer.stdout.splitlines()[-1]
