"""The OpenAPI document is kept: Schemathesis asks what it allows and what it forbids.

A bounded run. A long one, against a running service:
`schemathesis run http://127.0.0.1:8080/openapi.json --max-examples 1000 -H 'Authorization: Bearer ...'`
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import checks

from tests.recall_plugin.doubles import PATIENCE_S
from tests.recall_plugin.serving import ASKED, PACKAGED, STEERING, app_of, serving

EXAMPLES = 8
# The document says what a body may be; a rule across its fields (text or image) is refused with
# 422 all the same, so "what the schema allows is accepted" cannot be asked of it.
CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("openapi")
    shutil.copy(PACKAGED, folder)
    environment = {"experiments": folder, "switches": folder / "switches.txt"}
    with serving(app_of(environment=environment)) as url:
        yield url


@pytest.fixture(scope="module")
def schema(url: str) -> Any:
    return schemathesis.openapi.from_url(f"{url}/openapi.json")


def document() -> dict[str, Any]:
    app = app_of()
    made: dict[str, Any] = app.control.openapi()
    return made


OPERATIONS = [(path, method) for path, methods in document()["paths"].items() for method in methods]


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_no_question_makes_it_fail_or_answer_what_is_not_documented(
    url: str, schema: Any, path: str, method: str, mode: Any
) -> None:
    """Every operation, with what the document allows and what it forbids, with the token."""

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=schema[path][method.upper()].as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        case.call_and_validate(base_url=url, headers=STEERING, checks=CHECKS, timeout=PATIENCE_S)

    try:
        ask()
    except Unsatisfiable:  # an operation without parameters has nothing to get wrong
        assert mode is schemathesis.GenerationMode.NEGATIVE


def test_the_document_is_a_sound_one_with_both_halves_of_the_service() -> None:
    """/recall is no route of the framework, but it is in its document, and examples pass its schema."""
    said = document()
    body = said["paths"]["/recall"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    whole = {"$ref": body["$ref"], "components": said["components"]}

    assert {"/recall", "/recall/ahead", "/uploads", "/switches", "/reload"} <= set(said["paths"])
    assert "3.1" in said["openapi"]
    jsonschema.validate(ASKED, whole)
    for wrong in (
        {"limit": 10**9},
        {"filters": {"colour": "red"}},
        {"colour": "red"},
        {"text": "x" * 10_240},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(ASKED | wrong, whole)


def test_what_steers_asks_for_the_token_in_the_document() -> None:
    """And nothing else does."""
    secured = {
        (path, method)
        for path, methods in document()["paths"].items()
        for method, operation in methods.items()
        if operation.get("security")
    }

    assert {("/switches", "put"), ("/reload", "post"), ("/experiments/{name}/traffic", "put")} == secured
