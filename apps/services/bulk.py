"""Many writes and deletions of one service's entries, all or nothing (SPEC 10)."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from apps.core.errors import InvalidInput, NexusError
from apps.core.names import require_entry_key

# Of writes and deletions together.
ITEMS_MAX = 200

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Deletion:
    """One entry to delete; `row_version` is the one that was seen, None for any."""

    key: str
    row_version: int | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one entry. `version` is None for what has none: flags, and what is gone."""

    key: str
    version: int | None
    row_version: int
    created: bool


def each(path: str, items: Sequence[T], run: Callable[[T], R]) -> list[R]:
    """`run` for each item. What it refuses is named by `path` and the item's number.

    All InvalidInputs are raised as one at the end: the caller's transaction undoes what went before.
    """
    done, errors = [], {}
    for number, item in enumerate(items):
        try:
            done.append(run(item))
        except InvalidInput as wrong:
            for field, messages in wrong.errors.items():
                errors[f"{path}.{number}.{field}".rstrip(".")] = messages
        except NexusError as refused:
            refused.detail = f"{path}.{number}: {refused.detail}"
            raise
    if errors:
        raise InvalidInput(errors)
    return done


def require_distinct(writes: Iterable[str], deletions: Sequence[Deletion]) -> list[str]:
    """All keys that are named. Raises InvalidInput for one that stands twice, or too many, or none."""
    named = [(f"write.{number}.key", key) for number, key in enumerate(writes)]
    named += [(f"delete.{number}.key", deletion.key) for number, deletion in enumerate(deletions)]
    if not 1 <= len(named) <= ITEMS_MAX:
        raise InvalidInput.of("", f"Send 1 to {ITEMS_MAX} items, write and delete together.")
    first: dict[str, str] = {}
    errors: dict[str, list[str]] = {}
    for path, key in named:
        try:
            require_entry_key(key)
        except InvalidInput as wrong:
            errors[path] = wrong.errors["key"]
        if first.setdefault(key, path) != path:
            errors[path] = [f"This key stands at {first[key]} already. Name each once."]
    if errors:
        raise InvalidInput(errors)
    return list(first)
