"""A run is alone in its folder, is ended in one sentence, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from demo.home import alone_in
from demo.processes import StackError, free_port, port_answers, start_process
from demo.telling import Telling

ROOT = Path(__file__).parents[2]
HOLDER = """
import sys, time; from pathlib import Path; from demo.home import alone_in
with alone_in(Path(sys.argv[1])): print('in', flush=True); time.sleep(600)
"""
WALK = [sys.executable, "-m", "demo"]


def telling_to(*, width: int, terminal: bool) -> tuple[Telling, StringIO]:
    file = StringIO()
    console = Console(file=file, width=width, force_terminal=terminal, color_system=None)
    return Telling(console, steps=7), file


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DEMO_")}
    return {**kept, "DEMO_HOME": str(tmp_path), "DEMO_PRODUCTS": "50", "DEMO_SHOPPERS": "20", **more}


def test_a_second_demo_in_the_same_folder_is_refused_in_one_sentence(tmp_path: Path) -> None:
    """Before it touches anything of the first one's, its log included."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        assert "in\n" == first.stdout.readline()
        before = sorted(tmp_path.iterdir())

        second = subprocess.run(WALK, cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True)

        first.kill()
    assert 2 == second.returncode
    assert (
        f"error: another demo (pid {first.pid}) is using {tmp_path}; wait for its end, end it with "
        f"`kill {first.pid}`, or set DEMO_HOME to another folder\n" == second.stderr
    )
    assert before == sorted(tmp_path.iterdir())
    with alone_in(tmp_path):  # a killed run does not keep its folder
        pass


def test_a_folder_of_somebody_else_is_told(tmp_path: Path) -> None:
    """One sentence with the next step."""
    (tmp_path / "run.lock").mkdir()

    with pytest.raises(StackError, match=r"nothing can be written in .*; set DEMO_HOME"), alone_in(tmp_path):
        pass


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_demo_in_one_sentence(tmp_path: Path, sign: signal.Signals) -> None:
    """Even in the middle of an import, which turns an interrupt into an error of its own."""
    if signal.getsignal(sign) is signal.SIG_IGN:
        pytest.skip(f"these tests were started with {sign.name} ignored, as a job in the background is")
    with subprocess.Popen(
        WALK, cwd=ROOT, env=environment(tmp_path, DEMO_PRODUCTS="4000"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as demo:  # fmt: skip
        assert demo.stdout is not None
        while "1/8" not in demo.stdout.readline():
            pass
        began = time.monotonic()
        while not (tmp_path / "shop.part").exists():
            assert time.monotonic() - began < 300
            time.sleep(0.02)
        demo.send_signal(sign)
        told = demo.communicate(timeout=300)[1]

    assert 128 + sign == demo.returncode
    assert ["stopped; everything that was started has been ended. `make demo` starts again"] == [
        line for line in told.splitlines() if line
    ]
    assert not (tmp_path / "shop").exists()


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({"DEMO_CATALOGUE": "/no/such/folder"}, "DEMO_CATALOGUE is '/no/such/folder', which does not exist"),
        ({"UNIECS_MODEL": "/no/such/model"}, "no encoder in /no/such/model"),
        ({"MILVUS_URI": "http://127.0.0.1:9"}, "MILVUS_URI=http://127.0.0.1:9: nothing answers there"),
        ({"MILVUS_URI": "http://[::"}, "MILVUS_URI=http://[::: nothing answers there"),
    ],
)
def test_what_is_not_there_is_one_sentence(tmp_path: Path, named: dict[str, str], said: str) -> None:
    """Told at once, before anything is made."""
    told = subprocess.run(WALK, cwd=ROOT, env=environment(tmp_path, **named), capture_output=True, text=True)

    assert 2 == told.returncode
    assert told.stderr.startswith(f"error: {said}")
    assert 1 == len(told.stderr.splitlines())
    assert not (tmp_path / "shop").exists()


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (None, "has no products.jsonl/.csv/.parquet and no other such file; name the file in catalogue.toml"),
        ('{"title": "red mug"}\n', "no column holds the product id among: title; name one 'product_id'"),
        ("", "products.jsonl"),
    ],
)
def test_a_catalogue_that_is_none_is_one_sentence(tmp_path: Path, rows: str | None, said: str) -> None:
    """Told before a server is started."""
    shop = tmp_path / "shop"
    shop.mkdir()
    if rows is not None:
        (shop / "products.jsonl").write_text(rows)
    named = environment(tmp_path / "home", DEMO_CATALOGUE=str(shop))

    told = subprocess.run(WALK, cwd=ROOT, env=named, capture_output=True, text=True)

    assert 2 == told.returncode
    assert told.stderr.startswith("error: ")
    assert said in told.stderr
    assert 1 == len(told.stderr.splitlines())


def test_why_a_program_failed_is_told_once_in_its_own_words(tmp_path: Path) -> None:
    """What it wrote for machines stays in its log."""
    telling, file = telling_to(width=80, terminal=False)
    code = (
        "import sys; print('begin done'); print('{\"event\": \"x\"}');"
        "print('error: load: nothing answers; see a.log'); sys.exit(1)"
    )
    failing = start_process("a_dag", [sys.executable, "-c", code], tmp_path / "log")

    with pytest.raises(StackError, match=r"^load: nothing answers; see a\.log$"):
        telling.follow(failing, timeout_s=300)

    assert ["       begin done"] == file.getvalue().splitlines()


def test_a_terminal_gets_lines_broken_between_words_and_commands_whole() -> None:
    """A path or a command that is broken cannot be copied."""
    telling, file = telling_to(width=50, terminal=True)

    telling.say("starting milvus-lite on a/rather/long/path/that/is/whole.db; its log: logs/milvus.log")
    telling.say("python -m product_index search 'striped red mug' --limit 10", hanging=None)

    assert [
        "     starting milvus-lite on",
        "       a/rather/long/path/that/is/whole.db; its",
        "       log: logs/milvus.log",
        "     python -m product_index search 'striped red mug' --limit 10",
    ] == file.getvalue().splitlines()


def test_a_file_gets_whole_lines_and_a_line_now_and_then_instead_of_a_bar(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A log of a build machine shows that something moves."""
    monkeypatch.setattr("demo.telling._LINE_EVERY_S", 0)
    telling, file = telling_to(width=40, terminal=False)

    telling.say("one line, however long it is: " + "word " * 20)
    with telling.bar("searches") as progress:
        progress(500, 1_000)

    assert ["     one line, however long it is: " + "word " * 20, "     searches: 500 of 1,000"] == (
        file.getvalue().splitlines()
    )


@pytest.mark.kafka
@pytest.mark.milvus
def test_servers_to_try_things_on_serve_until_ctrl_c(tmp_path: Path, kafka_bootstrap: str) -> None:
    """Who has no Milvus starts one by a command, and Ctrl-C ends it; a Kafka that is named is left alone."""
    port = free_port()
    told = {"KAFKA_BOOTSTRAP": kafka_bootstrap, "MILVUS_URI": ""}
    argv = [*WALK, "servers", "--milvus-port", str(port)]
    with subprocess.Popen(
        argv, cwd=ROOT, env=environment(tmp_path / "new", **told), stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        said = [running.stdout.readline() for _ in range(4)]
        answered = port_answers(port)
        running.send_signal(signal.SIGINT)
        code = running.wait()

    assert f"export MILVUS_URI=http://127.0.0.1:{port} KAFKA_BOOTSTRAP={kafka_bootstrap}\n" == said[-1]
    assert (True, 0, False) == (answered, code, port_answers(port))
    assert (tmp_path / "new" / "index.db").is_dir()
