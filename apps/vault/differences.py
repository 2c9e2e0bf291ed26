"""How two versions differ: configs as text, secrets by whether they do and their lengths (SPEC 5)."""

import difflib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from django.db import transaction

from apps.audit.events import Action
from apps.audit.operations import record
from apps.core.access import require, require_presence
from apps.core.actor import Actor
from apps.vault.history import readable_version
from apps.vault.models import Config, ConfigType, Secret
from apps.vault.reads import unsealed_version
from apps.vault.values import stored_value

# Lines around a difference, as `diff -u` gives them.
_CONTEXT_LINES = 3
# difflib takes a minute for two texts of 16,000 lines that repeat themselves, and below a second for
# these. What is longer, between its common beginning and end, is shown as replaced whole.
_COMPARED_LINES_MAX = 2_000

# What was done, and from where to where in both texts.
_Opcode = tuple[str, int, int, int, int]


@dataclass(frozen=True, slots=True)
class SecretDifference:
    """How two versions of a secret differ; the values' lengths, never the values."""

    is_same: bool
    left_bytes: int
    right_bytes: int


def diff_configs(*, actor: Actor, config: Config, left: int, right: int) -> str:
    """How two versions of a config differ, as text in the unified form. Templates stay unresolved.

    JSON is laid out a member a line. Empty where they are the same. Raises NotPermitted, and NotFound
    for a version that is not or no longer there.
    """
    require(actor, "config:read", config)
    before, after = (readable_version(config, number) for number in (left, right))
    lines = _unified(_lines(before), _lines(after))
    if not lines and before.type == after.type:
        return ""
    names = (f"{row.config.key} version {row.version} ({row.type})" for row in (before, after))
    return "\n".join([*(f"{mark} {name}" for mark, name in zip(("---", "+++"), names, strict=True)), *lines])


def _lines(row: Any) -> list[str]:
    text = row.text
    if row.type == ConfigType.JSON:
        text = json.dumps(stored_value(row.value_json), indent=2, ensure_ascii=False)
    # Not splitlines: a difference in the last line's end, or in a separator of Unicode's, is one too.
    return str(text).split("\n")


def _unified(before: Sequence[str], after: Sequence[str]) -> list[str]:
    """The hunks of `diff -u`. None where there is no difference."""
    start = _alike(zip(before, after, strict=False))
    end = _alike(zip(reversed(before[start:]), reversed(after[start:]), strict=False))
    first = max(0, start - _CONTEXT_LINES)
    old, new = (lines[first : len(lines) - max(0, end - _CONTEXT_LINES)] for lines in (before, after))
    # `opcodes` is what the matcher would find; types do not know of it.
    matcher: Any = difflib.SequenceMatcher(None, old, new)
    if max(len(old), len(new)) > _COMPARED_LINES_MAX:
        matcher.opcodes = list(_replaced(old, new, start - first, min(end, _CONTEXT_LINES)))
    lines = []
    for group in matcher.get_grouped_opcodes(_CONTEXT_LINES):
        ranges = (group[0][1], group[-1][2]), (group[0][3], group[-1][4])
        lines.append("@@ -{} +{} @@".format(*(_range(first + low, first + high) for low, high in ranges)))
        for tag, old_from, old_to, new_from, new_to in group:
            if tag == "equal":
                lines += [f" {line}" for line in old[old_from:old_to]]
                continue
            lines += [f"-{line}" for line in old[old_from:old_to]]
            lines += [f"+{line}" for line in new[new_from:new_to]]
    return lines


def _alike(pairs: Iterable[tuple[str, str]]) -> int:
    """How many pairs, from the first on, are equal."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _replaced(old: Sequence[str], new: Sequence[str], head: int, tail: int) -> Iterator[_Opcode]:
    """All between `head` lines at the beginning and `tail` at the end taken out and put in anew."""
    yield "equal", 0, head, 0, head
    yield "replace", head, len(old) - tail, head, len(new) - tail
    yield "equal", len(old) - tail, len(old), len(new) - tail, len(new)


def _range(low: int, high: int) -> str:
    """Lines as a hunk's head counts them: from 1, and an empty range from the line before it."""
    count = high - low
    return f"{low + 1}" if count == 1 else f"{low + (count > 0)},{count}"


def diff_secrets(*, actor: Actor, secret: Secret, left: int, right: int) -> SecretDifference:
    """Whether two versions of a secret are the same, and their lengths.

    That they are the same says something of a value, so it asks for `secret:reveal` and presence, and
    is told to the audit log as a reveal of neither: `secret.compared`, committed before this returns.
    Raises NotPermitted, ReauthenticationRequired, NotFound and Unreadable.
    """
    require(actor, "secret:reveal", secret)
    require_presence(actor)
    rows = [readable_version(secret, number) for number in (left, right)]
    values = [unsealed_version(secret, row) for row in rows]
    with transaction.atomic(durable=True):
        record(
            actor=actor,
            action=Action.SECRET_COMPARED,
            target=secret.audit_target(),
            changes={"versions": [left, right]},
        )
    return SecretDifference(values[0] == values[1], rows[0].size_bytes, rows[1].size_bytes)
