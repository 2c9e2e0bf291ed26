"""What schemathesis is told about the world that it runs against (SCHEMATHESIS_HOOKS names this module).

Random ids would meet nothing but 404, so an id that no answer ever told is replaced by one of the right
kind: from the world that the test made, or from what the run met in lists and made itself. What the
test made is changed by the run, and not ended: deletions meet what the run made.
"""

import json
import os
import random
import threading
from typing import Any
from uuid import UUID

import schemathesis

MANAGE = "/api/v1/manage/"
WORLD: dict[str, list[str]] = json.loads(os.environ.get("NEXUS_FUZZ_WORLD", "{}"))
KEPT = {each for ids in WORLD.values() for each in ids}
# What a member of a body is the id of, by the name that addresses give it.
MEMBERS = {
    "tenant": "tenant_id",
    "project": "project_id",
    "service": "service_id",
    "umbrella": "umbrella_id",
    "target": "service_id",
    "other": "service_id",
}
# By what an address names a row, where that is not `id`.
NAMED_BY = {"secrets": "key", "configs": "key", "flags": "key", "add-ons": "name"}
ROOTS = ("tenant_id", "project_id", "service_id")
REMEMBERED = 20

_seen: set[str] = set()
# Address of a collection → the last rows met in it, each as what its address has in place of names.
_rows: dict[str, list[dict[str, str]]] = {}
_made: dict[str, list[str]] = {name: [] for name in ROOTS}
_lock = threading.Lock()
_chosen = random.Random(1)


def _is_unknown_id(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(UUID(value)) and value not in _seen
    except ValueError:
        return False


def _known(name: str) -> list[str]:
    return [*WORLD.get(name, ()), *_made.get(name, ())[-5:]]


def _is_kept(method: str, path: str, parameters: dict[str, Any]) -> bool:
    """Whether the request would end something that the rest of the run stands on."""
    item = path.removesuffix("/disable").removesuffix("/deactivate")
    ends = method == "DELETE" or item != path
    last = item.rpartition("/")[2].strip("{}")
    is_member = last == "member_id" and method in ("PATCH", "DELETE")
    return (ends or is_member) and parameters.get(last) in KEPT


@schemathesis.hook
def filter_headers(context: Any, headers: Any) -> bool:
    # With a control character it is no HTTP, and the server answers before Nexus is asked.
    return all(
        str(value).isprintable() and str(name).isprintable() for name, value in (headers or {}).items()
    )


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    path, parameters = case.operation.path, case.path_parameters
    if not path.startswith(MANAGE):
        return
    if parameters:
        with _lock:
            _place(case.method.upper(), path, parameters)
    if isinstance(case.body, dict):
        for member, name in MEMBERS.items():
            if _is_unknown_id(case.body.get(member)) and (known := _known(name)):
                case.body[member] = _chosen.choice(known)


def _place(method: str, path: str, parameters: dict[str, Any]) -> None:
    # Where the generator broke a name on purpose, nothing is mended.
    unknown = {name for name, value in parameters.items() if _is_unknown_id(value)}
    for collection in sorted(_rows, key=len, reverse=True):
        rows = _rows[collection]
        if path.startswith(f"{collection}/{{") and (unknown or _chosen.random() < 0.5):
            row = _chosen.choice(rows)
            if unknown <= row.keys() and all(isinstance(parameters[name], str) for name in row):
                parameters.update(row)
                unknown = set()
                break
    for name in unknown:
        if known := _known(name):
            parameters[name] = _chosen.choice(known)
    if _is_kept(method, path, parameters):
        last = path.removesuffix("/disable").removesuffix("/deactivate").rpartition("/")[2].strip("{}")
        ends = _made.get(last) or ["00000000-0000-7000-8000-000000000000"]
        parameters[last] = _chosen.choice(ends)


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    path = case.operation.path
    is_collection = not path.endswith("}") and case.method.upper() in ("GET", "POST")
    if response.status_code not in (200, 201) or not path.startswith(MANAGE) or not is_collection:
        return
    document = response.json()
    kind = path.rpartition("/")[2]
    name = NAMED_BY.get(kind, "id")
    rows = document.get("results", [document])
    found = [str(row[name]) for row in rows if name in row]
    with _lock:
        _seen.update(str(row["id"]) for row in rows if "id" in row)
        if response.status_code == 201 and kind in ("projects", "services"):
            _made[f"{kind[:-1]}_id"].extend(found)
        if path.count("{") == 1 and kind != "restore":
            met = [{**case.path_parameters, _parameter(kind): each} for each in found]
            if known := [*_rows.get(path, ()), *met][-REMEMBERED:]:
                _rows[path] = known


def _parameter(kind: str) -> str:
    """What the addresses of items call the id of a row of this collection."""
    return NAMED_BY.get(kind) or {
        "members": "member_id",
        "service-accounts": "account_id",
        "invitations": "invitation_id",
        "grants": "grant_id",
        "api-keys": "key_id",
        "audit-events": "event_id",
        "workload-identities": "identity_id",
    }.get(kind, "other_id")
