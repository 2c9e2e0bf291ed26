"""The OpenAPI document itself: examples that hold, every code told, and a page that reads it."""

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from django.test import Client
from drf_spectacular.generators import SchemaGenerator

from apps.core import errors
from nexus.schema import codes
from nexus.schema_examples import EXAMPLES

DOC = Path(__file__).resolve().parents[2] / "docs" / "api.md"
METHODS = ("get", "post", "put", "patch", "delete")
FAR = {"already_running", "root_key_is_gone"}


@pytest.fixture(scope="module")
def document() -> Any:
    return SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]


def operations(document: Any) -> dict[str, Any]:
    return {
        item[method]["operationId"]: (path, item[method])
        for path, item in document["paths"].items()
        for method in METHODS
        if method in item
    }


def test_every_example_is_an_instance_of_its_schema(document: Any) -> None:
    found = operations(document)
    examples = 0
    for name, (request, answer) in EXAMPLES.items():
        contents = []
        operation = found[name][1]
        if request is not None:
            contents.append(operation["requestBody"]["content"]["application/json"])
        if answer is not None:
            status = min(status for status in operation["responses"] if status.startswith("2"))
            contents.append(operation["responses"][status]["content"]["application/json"])
        for content in contents:
            schema = {**content["schema"], "components": document["components"]}
            jsonschema.Draft202012Validator(schema).validate(content["example"])
            examples += 1

    assert len(EXAMPLES) >= 15
    assert examples >= 30


def test_refusals_are_problem_documents_whose_codes_are_those_of_their_status(document: Any) -> None:
    problems = document["components"]["responses"]
    for path, operation in operations(document).values():
        for status, answer in operation["responses"].items():
            if int(status) < 400:
                continue
            assert answer == {"$ref": f"#/components/responses/Problem{status}"}, path
    for name, answer in problems.items():
        (content,) = answer["content"].items()
        assert content[0] == "application/problem+json"
        told = content[1]["schema"]["allOf"][1]["properties"]["code"]["enum"]
        assert told == [code for code, status in codes().items() if f"Problem{status}" == name]


def test_every_code_stands_in_the_document_and_on_the_page_with_its_status(document: Any) -> None:
    rows = re.findall(r"^\| (\d{3}) \| (`.*`) \|$", DOC.read_text().split("## Errors")[1], re.MULTILINE)
    page = {code: int(status) for status, row in rows for code in re.findall(r"`([a-z_]+)`", row)}
    classes = {
        kind.code: kind.status
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.NexusError)
    }

    assert page == codes()
    assert classes.items() <= page.items()
    assert document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"] == list(page)
    assert not FAR & page.keys(), "what only a start or a command meets is no answer of the API"


def test_the_page_names_every_address_of_the_management_api(document: Any) -> None:
    page = DOC.read_text()
    missing = set()
    for path, _ in operations(document).values():
        if path.startswith("/api/v1/manage/"):
            short = re.sub(r"\{[a-z]+_id\}", "{id}", path.removeprefix("/api/v1/manage/"))
            tail = short.split("/{id}/", 1)
            if f"`{short}`" not in page and f"`…/{tail[-1]}`" not in page and f"/{tail[-1]}`" not in page:
                missing.add(short)

    assert missing == set()


def test_bodies_take_no_unknown_members_and_every_door_says_who_comes(document: Any) -> None:
    for path, operation in operations(document).values():
        workload = not path.startswith("/api/v1/manage/")
        assert operation["security"] == (
            [{"ApiKey": []}] if workload else [{"AccessToken": []}, {"Session": []}]
        )
        if "requestBody" in operation:
            name = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[
                2
            ]
            assert document["components"]["schemas"][name]["additionalProperties"] is False, name


def test_the_browsable_page_comes_under_the_strict_policy_and_without_inline_script(client: Client) -> None:
    answer = client.get("/api/docs/")

    policy = answer.headers["Content-Security-Policy"]
    assert answer.status_code == 200
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]
    assert "unsafe-eval" not in policy
    assert not re.search(r"<script(?![^>]*\bsrc=)", answer.content.decode())
    assert not re.search(r"\son[a-z]+=|<style|\sstyle=", answer.content.decode())
