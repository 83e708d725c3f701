"""Writes docs/settings.md: every setting of every room, as its class declares it.

    python scripts/settings_page.py            # writes the page
    python scripts/settings_page.py --check    # says what differs, exit 1

The rooms declare and describe their settings once, in `Settings` of their settings.py; this page only lists.
"""

import difflib
import importlib
import re
import sys
from pathlib import Path

from pydantic import AliasChoices, SecretStr
from pydantic_settings import BaseSettings

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # not every room is installed as a package

ROOMS = ("product_index", "streaming", "recall_plugin", "experiments")
PAGE = ROOT / "docs" / "settings.md"
HEAD = """# Settings

Every program reads the environment and a file `.env` beside it, once, when it starts.
Wrong values are refused in one sentence that names the variable, the value and the rule.
Passwords and tokens are never logged.

This page is written by `python scripts/settings_page.py` from the classes that declare the settings.
"""

# Airflow reads DAG files long before it runs them: these are looked up in the environment, not in a class.
PROGRAMS = """
## `dags` and `demo`

| name | what | default |
| --- | --- | --- |
| `UNIECS_MODELS` | where encoders are kept, for all workers; `UNIECS_MODEL` is then its `live` | – |
| `UNIECS_RECIPE` | what `retrain_encoder` learns from | `demo/encoder.toml` |
| `DAG_POOLS` | the pools that tasks are put into, comma between; see the [runbook](runbook.md#airflow) | – |
| `DAGS_RETRY_DELAY_S` | first wait of a failed task; each of its three waits is twice the one before | `30` |
| `FAILURE_WEBHOOK` | address that gets one JSON POST per task that failed for good | – |
| `DEMO_HOME` | where the demo keeps its things | `.demo` |
| `DEMO_CATALOGUE` | a catalogue of your own for the demo | – |
"""


def described(settings: type[BaseSettings]) -> dict[str, str]:
    """Field name -> its sentence, from the Attributes section of the docstring."""
    _, _, section = (settings.__doc__ or "").partition("Attributes:\n")
    sentences: dict[str, str] = {}
    for names, text in re.findall(r"^ {8}([a-z_0-9, \n]+?): ((?:.|\n {12,})+)", section, re.MULTILINE):
        for name in re.split(r",\s*", names):
            sentences[name.strip()] = " ".join(text.split()).rstrip(".")
    return sentences


def variable(settings: type[BaseSettings], name: str) -> str:
    """The name in the environment."""
    alias = settings.model_fields[name].validation_alias
    if isinstance(alias, AliasChoices):
        alias = alias.choices[0]
    return str(alias or f"{settings.model_config.get('env_prefix', '')}{name}").upper()


def page() -> str:
    """The whole page.

    Raises:
        SystemExit: a setting that its class does not describe.
    """
    parts = [HEAD]
    for room in ROOMS:
        settings = importlib.import_module(f"{room}.settings").Settings
        sentences = described(settings)
        parts.append(f"\n## `{room}`\n\n| name | what | default |\n| --- | --- | --- |\n")
        for name, field in settings.model_fields.items():
            if name not in sentences:
                raise SystemExit(
                    f"{room}.settings.Settings does not say what {name} is; add it under Attributes"
                )
            default = field.get_default(call_default_factory=True)
            if isinstance(default, SecretStr):
                default = default.get_secret_value()
            shown = "–" if default in (None, "", ()) else f"`{default}`"
            parts.append(f"| `{variable(settings, name)}` | {sentences[name]} | {shown} |\n")
    return "".join([*parts, PROGRAMS])


if __name__ == "__main__":
    text = page()
    if sys.argv[1:] != ["--check"]:
        PAGE.write_text(text, encoding="utf-8")
    elif text != (told := PAGE.read_text(encoding="utf-8")):
        sys.stderr.writelines(
            difflib.unified_diff(told.splitlines(True), text.splitlines(True), "docs", "code")
        )
        raise SystemExit("docs/settings.md is not what the classes say; run: python scripts/settings_page.py")
