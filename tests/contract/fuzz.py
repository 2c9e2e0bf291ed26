"""What schemathesis is told about the world that it runs against (SCHEMATHESIS_HOOKS names this module).

Random ids would meet nothing but 404, so each id that means nothing is replaced by one of the right
kind that exists. What was there before the run stays: deletions meet what the run made.
"""

import json
import os
import random
import threading
from typing import Any
from uuid import UUID

import schemathesis

WORLD: dict[str, list[str]] = json.loads(os.environ.get("NEXUS_FUZZ_WORLD", "{}"))
# Which kind of row a name in an address or a body stands for.
_BODY = {
    "tenant": "tenant_id",
    "project": "project_id",
    "service": "service_id",
    "umbrella": "umbrella_id",
    "target": "service_id",
    "other": "service_id",
}
_ROOTS = {"tenant_id", "project_id", "service_id"}
_PROTECTED = {each for ids in WORLD.values() for each in ids}
_seen: set[str] = set()
_made: dict[str, list[str]] = {name: [] for name in _ROOTS}
_lock = threading.Lock()
_chosen = random.Random(1)


def _is_id(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(UUID(value))
    except ValueError:
        return False


def _known(name: str) -> list[str]:
    return [*WORLD.get(name, ()), *_made.get(name, ())[-5:]]


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    method, path = case.method.upper(), case.operation.path
    if not path.startswith("/api/v1/manage/"):
        return
    for name, value in dict(case.path_parameters or {}).items():
        if not _is_id(value):
            continue
        ends = method == "DELETE" or path.endswith(("/disable", "/deactivate"))
        is_last = path.removesuffix("/disable").removesuffix("/deactivate").endswith(f"{{{name}}}")
        if ends and is_last:
            if value in _PROTECTED:
                # It stays; there is nothing at this one.
                case.path_parameters[name] = value[:-1] + ("0" if value[-1] != "0" else "1")
            elif value not in _seen and _made.get(name):
                case.path_parameters[name] = _chosen.choice(_made[name])
        elif value not in _seen and (known := _known(name)):
            case.path_parameters[name] = _chosen.choice(known)
    if isinstance(case.body, dict):
        for member, name in _BODY.items():
            if _is_id(case.body.get(member)) and case.body[member] not in _seen and (known := _known(name)):
                case.body[member] = _chosen.choice(known)


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    if response.status_code not in (200, 201):
        return
    try:
        document = response.json()
    except ValueError:
        return
    rows = document.get("results", [document]) if isinstance(document, dict) else []
    ids = [row["id"] for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str)]
    path = case.operation.path
    with _lock:
        _seen.update(ids)
        if response.status_code == 201 and path.endswith(("/projects", "/services")):
            _made["project_id" if path.endswith("/projects") else "service_id"].extend(ids)
