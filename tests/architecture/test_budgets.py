"""How many queries an address may cost, however many rows there are: `tests/budgets.json`."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern, URLResolver, get_resolver

from apps.core.actor import Actor
from tests.architecture.rows import ITEMS, LISTS, PARAMETERS, QUERIES, READERS
from tests.conftest import Cast
from tests.console.session import signed_in

PREFIX = "api/v1/manage/"
BUDGETS: dict[str, int] = json.loads(
    (Path(__file__).resolve().parents[1] / "budgets.json").read_text(encoding="utf-8")
)
# SPEC 10's lists hold up to 200 rows; a hundred cost no more than this.
LIST_MAX = 12
WRITES = {"PUT services/{service_id}/secrets/{key}"}  # measured in tests/vault/test_costs.py


def addresses(patterns: list[Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Every address of the URLconf with its view, parameters in braces."""
    for pattern in patterns:
        route = before + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(pattern.pattern))
        if isinstance(pattern, URLResolver):
            yield from addresses(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern):
            yield (
                route,
                getattr(pattern.callback, "view_class", None) or getattr(pattern.callback, "cls", None),
            )


def reads() -> set[str]:
    """What /manage answers to GET."""
    return {
        f"GET {route.removeprefix(PREFIX)}"
        for route, view in addresses(get_resolver().url_patterns)
        if route.startswith(PREFIX) and hasattr(view, "get")
    }


def path_of(entry: str, cast: Cast) -> str:
    route = entry.partition(" ")[2]
    root = route.partition("/")[0]
    values = {
        name: PARAMETERS.get(f"{root}/{name}", PARAMETERS.get(name, _unknown))(cast)
        for name in re.findall(r"{(\w+)}", route)
    }
    return f"/{PREFIX}{route.format(**values)}{QUERIES.get(entry, '')}"


def _unknown(cast: Cast) -> object:
    raise AssertionError("give the parameter a row in tests/architecture/rows.py")


def reader(cast: Cast, entry: str) -> Any:
    root = entry.partition(" ")[2].partition("/")[0]
    return signed_in(cast, READERS.get(root, "carol"))


def cost(client: Any, path: str) -> tuple[int, Any]:
    # What is written once a minute, and keys that are unwrapped once, are no cost of a read.
    client.get(path)
    with CaptureQueriesContext(connection) as captured:
        answer = client.get(path)
    assert answer.status_code == 200, answer.content
    return len(captured), answer.json()


def test_every_read_has_its_budget_and_its_rows() -> None:
    found = reads()

    assert found, "no address was found"
    assert found - BUDGETS.keys() == set(), "give it a line in tests/budgets.json"
    assert BUDGETS.keys() - found - WRITES == set(), "no such address"
    assert found - LISTS.keys() - ITEMS.keys() == set(), "give it rows in tests/architecture/rows.py"


@pytest.mark.parametrize("entry", sorted(LISTS))
def test_a_list_costs_the_same_with_ten_rows_and_with_a_thousand(cast: Cast, entry: str) -> None:
    client = reader(cast, entry)
    path = f"{path_of(entry, cast)}?limit=100"

    LISTS[entry](cast, 10)
    few, page = cost(client, path)
    assert len(page["results"]) >= 10
    LISTS[entry](cast, 1_000)
    many, page = cost(client, path)

    assert len(page["results"]) == 100
    assert few == many
    assert many <= min(BUDGETS[entry], LIST_MAX)


@pytest.mark.parametrize("entry", sorted(ITEMS))
def test_an_item_costs_what_its_budget_says(cast: Cast, command: Actor, entry: str) -> None:
    ITEMS[entry](cast, command)

    queries, _ = cost(reader(cast, entry), path_of(entry, cast))

    assert queries <= BUDGETS[entry]
