"""Templates in configs: parse them, and resolve them in the scope of the service that reads (SPEC 6).

Pure: no database, no key. A reference is `{{secret:KEY}}`, `{{config:KEY}}` or `{{flag:KEY}}`; `\\{{`
stands for the two braces themselves; nothing else is templated. What comes out of a secret is text
and is never expanded again.

Resolution takes two passes over all configs of a scope. `survey` looks at references and lengths
alone, so that what is missing, circular, too deep or too large is known before anything is opened
or joined, in time linear in the input: a "billion laughs" is refused by arithmetic. `resolve` then
joins the texts of those that passed, each once.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from apps.core import strict_json
from apps.core.names import KEY_MAX_LENGTH

# A chain of so many references is served, one more is refused.
MAX_DEPTH = 8
RESOLVED_MAX_BYTES = 256 * 1024
# Of a longer path the beginning is told: a ring of a thousand helps nobody to read.
_PATH_SHOWN = 12

OPENING = "{{"
ESCAPED = "\\{{"
_MARK = re.compile(r"\\?\{\{")
_REFERENCE = re.compile(r"\{\{(secret|config|flag):([a-zA-Z](?:[a-zA-Z0-9_.:-]*[a-zA-Z0-9])?)\}\}", re.ASCII)

SECRET, CONFIG, FLAG = "secret", "config", "flag"
_STRING, _JSON = "string", "json"


class TemplateError(Exception):
    """A text is no template. `position` counts its characters from 1."""

    def __init__(self, position: int, reason: str) -> None:
        self.position = position
        self.reason = reason
        super().__init__(f"At character {position}: {reason}")


class Reference(NamedTuple):
    kind: str
    key: str

    def __str__(self) -> str:
        return self.key if self.kind == CONFIG else f"{self.kind}:{self.key}"

    @property
    def token_bytes(self) -> int:
        return len(self.kind) + len(self.key) + len("{{:}}")


Part = str | Reference


def parse(text: str) -> list[Part]:
    """The parts of `text`: literal texts, unescaped, and references.

    Raises TemplateError for an unescaped `{{` that begins no exact reference. Linear in `text`.
    """
    parts: list[Part] = []
    literal: list[str] = []
    at = 0
    while mark := _MARK.search(text, at):
        literal.append(text[at : mark.start()])
        if mark[0] == ESCAPED:
            literal.append(OPENING)
            at = mark.end()
            continue
        found = _REFERENCE.match(text, mark.start())
        if found is None or len(found[2]) > KEY_MAX_LENGTH:
            raise TemplateError(
                mark.start() + 1,
                "{{ begins no reference. Write {{secret:KEY}}, {{config:KEY}} or {{flag:KEY}}, "
                "or \\{{ for the two braces themselves.",
            )
        if any(literal):
            parts.append("".join(literal))
        literal = []
        parts.append(Reference(found[1], found[2]))
        at = found.end()
    literal.append(text[at:])
    if any(literal):
        parts.append("".join(literal))
    return parts


def strings(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every string in a JSON value with its path, members' names excepted: those are not templated."""
    match value:
        case str():
            yield path, value
        case dict():
            for name, member in value.items():
                yield from strings(member, f"{path}.{name}" if path else str(name))
        case list():
            for number, element in enumerate(value):
                yield from strings(element, f"{path}.{number}" if path else str(number))


def references(value: Any) -> list[Reference]:
    """The references in a config's value, each once, in order. Raises TemplateError."""
    found: dict[Reference, None] = {}
    for _, text in strings(value):
        if OPENING in text:
            found.update((part, None) for part in parse(text) if isinstance(part, Reference))
    return list(found)


class FailureCode(StrEnum):
    """Why a config cannot be served; the `code` in a snapshot's `errors`."""

    MISSING = "missing_reference"
    CIRCULAR = "circular_reference"
    TOO_DEEP = "reference_too_deep"
    TOO_LARGE = "resolved_too_large"
    SECRET_IN_FRONTEND = "secret_in_frontend"  # noqa: S105 - the name of a failure
    UNREADABLE = "unreadable"
    MALFORMED = "malformed_template"


@dataclass(frozen=True, slots=True)
class Failure:
    """`path` begins with the config that fails: keys of configs, `secret:KEY`, `flag:KEY`."""

    code: FailureCode
    path: tuple[str, ...]

    def behind(self, key: str) -> "Failure":
        """The same as seen from the config `key`, which refers to the one that fails."""
        path = (key, *self.path)
        return Failure(self.code, path if len(path) <= _PATH_SHOWN else (*path[: _PATH_SHOWN - 1], "…"))

    @property
    def chain(self) -> str:
        return " → ".join(self.path)


class ConfigText(Protocol):
    """A config in effect, as it is stored."""

    @property
    def type(self) -> str: ...
    @property
    def value_json(self) -> str: ...


@dataclass(slots=True)
class _Node:
    """What is known of a config that holds a template. `size_bytes` is that of the resolved text."""

    is_string: bool
    value: Any
    # Of each string in `value`, in the order of `strings`.
    parts: list[list[Part]]
    counts: dict[Reference, int]
    depth: int = 0
    size_bytes: int = 0
    failure: Failure | None = None
    names_secret: bool = False


@dataclass(slots=True)
class Survey:
    """What `survey` found of the configs that hold a template; the others are served as they stand.

    `order` lists those that passed, each after those it refers to.
    """

    configs: Mapping[str, ConfigText]
    nodes: dict[str, _Node]
    order: list[str]

    @property
    def failures(self) -> dict[str, Failure]:
        return {key: node.failure for key, node in self.nodes.items() if node.failure is not None}

    @property
    def secrets_named(self) -> set[str]:
        """Keys of the secrets that go into a config that passed."""
        return {
            reference.key
            for key in self.order
            for reference in self.nodes[key].counts
            if reference.kind == SECRET
        }

    @property
    def total_bytes(self) -> int:
        """What all that can be served holds once it is resolved: no less than this as JSON."""
        plain = sum(len(each.value_json) for key, each in self.configs.items() if key not in self.nodes)
        return plain + sum(self.nodes[key].size_bytes for key in self.order)

    def names_secret(self, key: str) -> bool:
        """Whether a secret goes into the config, directly or through others."""
        return key in self.nodes and self.nodes[key].names_secret


@dataclass(frozen=True, slots=True)
class Scope:
    """What one service reads.

    `secret_sizes` holds the length of each secret's text in UTF-8 bytes, None for one that does not
    open; the whole is None for a frontend service, which reads none. `flags` holds `enabled`.
    """

    configs: Mapping[str, ConfigText]
    secret_sizes: Mapping[str, int | None] | None
    flags: Mapping[str, bool]


def survey(scope: Scope) -> Survey:
    """Find for every config whether it can be resolved, how large it gets, and what is in the way."""
    nodes = {
        key: _node(key, config)
        for key, config in scope.configs.items()
        if OPENING in config.value_json and config.type in (_STRING, _JSON)
    }
    done: set[str] = set()
    order: list[str] = []
    for root in nodes:
        if root not in done:
            _walk(root, scope, nodes, done, order)
    return Survey(scope.configs, nodes, [key for key in order if nodes[key].failure is None])


def _node(key: str, config: ConfigText) -> _Node:
    is_string = config.type == _STRING
    value: Any = None
    try:
        value = json.loads(config.value_json)
        parts = [parse(text) for _, text in strings(value)]
    except (TemplateError, ValueError):
        failure = Failure(FailureCode.MALFORMED, (key,))
        return _Node(is_string, value, [], {}, failure=failure)
    counts: dict[Reference, int] = {}
    size = len((value if is_string else config.value_json).encode())
    for part in (part for each in parts for part in each if type(part) is Reference):
        counts[part] = counts.get(part, 0) + 1
        # The token goes, and what it stands for comes: added up when that is known.
        size -= part.token_bytes
    return _Node(is_string, value, parts, counts, size_bytes=size)


def _walk(root: str, scope: Scope, nodes: dict[str, _Node], done: set[str], order: list[str]) -> None:
    """Depth-first with a stack of our own: a chain may be longer than Python's."""
    stack: list[tuple[str, Iterator[Reference]]] = [(root, iter(nodes[root].counts))]
    on_stack = {root: 0}
    while stack:
        key, remaining = stack[-1]
        for reference in remaining:
            target = reference.key
            if reference.kind != CONFIG or target not in nodes or target in done:
                continue
            if target in on_stack:
                _mark_ring([each for each, _ in stack[on_stack[target] :]], nodes)
                continue
            on_stack[target] = len(stack)
            stack.append((target, iter(nodes[target].counts)))
            break
        else:
            _conclude(key, scope, nodes)
            done.add(key)
            order.append(key)
            del on_stack[key]
            stack.pop()


def _mark_ring(ring: list[str], nodes: dict[str, _Node]) -> None:
    for position, key in enumerate(ring):
        if nodes[key].failure is None:
            path = [*ring[position : position + _PATH_SHOWN], *ring[:position], key]
            if len(ring) >= _PATH_SHOWN:
                path = [*path[: _PATH_SHOWN - 1], "…"]
            nodes[key].failure = Failure(FailureCode.CIRCULAR, tuple(path))


def _conclude(key: str, scope: Scope, nodes: dict[str, _Node]) -> None:
    """Add up what the config refers to, all of which is concluded or part of a ring."""
    node = nodes[key]
    counts = node.counts
    for reference, count in counts.items():
        size, depth, failure, names_secret = _looked_up(reference, scope, nodes)
        node.names_secret = node.names_secret or names_secret
        if failure is not None and node.failure is None:
            node.failure = failure.behind(key)
        node.depth = max(node.depth, depth + 1)
        node.size_bytes += count * size
    if node.failure is None and node.depth > MAX_DEPTH:
        node.failure = Failure(FailureCode.TOO_DEEP, tuple(_deepest(key, nodes)))
    if node.failure is None and node.size_bytes > RESOLVED_MAX_BYTES:
        largest = max(counts, key=lambda each: counts[each] * _looked_up(each, scope, nodes)[0])
        node.failure = Failure(FailureCode.TOO_LARGE, (key, str(largest)))


def _looked_up(
    reference: Reference, scope: Scope, nodes: Mapping[str, _Node]
) -> tuple[int, int, Failure | None, bool]:
    """Size, depth, failure and whether a secret is in it."""
    missing = Failure(FailureCode.MISSING, (str(reference),))
    match reference.kind:
        case "secret":
            if scope.secret_sizes is None:
                return 0, 0, Failure(FailureCode.SECRET_IN_FRONTEND, (str(reference),)), True
            if reference.key not in scope.secret_sizes:
                return 0, 0, missing, True
            size = scope.secret_sizes[reference.key]
            if size is None:
                return 0, 0, Failure(FailureCode.UNREADABLE, (str(reference),)), True
            return size, 0, None, True
        case "flag":
            if reference.key not in scope.flags:
                return 0, 0, missing, False
            return (4 if scope.flags[reference.key] else 5), 0, None, False
        case _:
            node = nodes.get(reference.key)
            if node is not None:
                return node.size_bytes, node.depth, node.failure, node.names_secret
            plain = scope.configs.get(reference.key)
            if plain is None:
                return 0, 0, missing, False
            return len(_plain_text(plain).encode()), 0, None, False


def _plain_text(config: ConfigText) -> str:
    """What a reference to a config without templates stands for: a string as it is, else JSON."""
    return str(json.loads(config.value_json)) if config.type == _STRING else config.value_json


def _deepest(key: str, nodes: Mapping[str, _Node]) -> Iterator[str]:
    """The longest chain of references from the config `key`, one beyond what is served."""
    yield key
    for _ in range(MAX_DEPTH + 1):
        references = list(nodes[key].counts) if key in nodes else []
        if not references:
            return
        deeper = [each for each in references if each.kind == CONFIG and each.key in nodes]
        found = max(deeper, key=lambda each: nodes[each.key].depth) if deeper else references[0]
        yield str(found)
        if found.kind != CONFIG:
            return
        key = found.key


def resolve(surveyed: Survey, *, secrets: Mapping[str, str], flags: Mapping[str, bool]) -> dict[str, str]:
    """The JSON text of every config that holds a template and passed `survey`.

    `secrets` holds the texts of those that configs refer to; no more than they are read.
    """
    texts: dict[str, str] = {}

    def text_of(reference: Reference) -> str:
        match reference.kind:
            case "secret":
                return secrets[reference.key]
            case "flag":
                return "true" if flags[reference.key] else "false"
            case _:
                found = texts.get(reference.key)
                if found is None:
                    found = texts[reference.key] = _plain_text(surveyed.configs[reference.key])
                return found

    resolved: dict[str, str] = {}
    for key in surveyed.order:
        node = surveyed.nodes[key]
        joined = [
            "".join([part if type(part) is str else text_of(part) for part in each])  # type: ignore[arg-type]
            for each in node.parts
        ]
        if node.is_string:
            texts[key] = joined[0]
            resolved[key] = strict_json.dumps(joined[0])
        else:
            resolved[key] = texts[key] = strict_json.dumps(_rebuilt(node.value, iter(joined)))
    return resolved


def _rebuilt(value: Any, joined: Iterator[str]) -> Any:
    """`value` with its strings replaced in the order in which `strings` gives them."""
    match value:
        case str():
            return next(joined)
        case dict():
            return {name: _rebuilt(member, joined) for name, member in value.items()}
        case list():
            return [_rebuilt(element, joined) for element in value]
        case _:
            return value
