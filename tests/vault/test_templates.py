"""Templates: what parses, what is refused, and what comes out, against a resolver written the plain way."""

import json
import time
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.vault.templates import (
    MAX_DEPTH,
    RESOLVED_MAX_BYTES,
    Failure,
    FailureCode,
    Reference,
    Scope,
    TemplateError,
    parse,
    references,
    resolve,
    survey,
)

SECRETS = {"pw": "s3cr€t", "brace": "{{config:a}}", "empty": ""}
FLAGS = {"on": True, "off": False}


class ConfigText(NamedTuple):
    type: str
    value_json: str


def text(value: str) -> ConfigText:
    return ConfigText("string", json.dumps(value))


def scope(configs: dict[str, object], *, frontend: bool = False, unreadable: tuple[str, ...] = ()) -> Scope:
    sizes = {key: None if key in unreadable else len(value.encode()) for key, value in SECRETS.items()}
    return Scope(
        {key: value if isinstance(value, ConfigText) else text(str(value)) for key, value in configs.items()},
        None if frontend else sizes,
        FLAGS,
    )


def resolved(configs: dict[str, object], **more: object) -> tuple[dict[str, object], dict[str, Failure]]:
    found = survey(scope(configs, **more))  # type: ignore[arg-type]
    values = resolve(found, secrets=SECRETS, flags=FLAGS)
    served = {key: config.value_json for key, config in found.configs.items() if key not in found.nodes}
    return {key: json.loads(value) for key, value in {**served, **values}.items()}, found.failures


# ---- parsing


@pytest.mark.parametrize(
    ("template", "parts"),
    [
        ("", []),
        ("plain } text {", ["plain } text {"]),
        ("{{config:a}}", [Reference("config", "a")]),
        ("x{{secret:a.b:c-d_e}}y", ["x", Reference("secret", "a.b:c-d_e"), "y"]),
        ("{{flag:f}}{{flag:f}}", [Reference("flag", "f"), Reference("flag", "f")]),
        (r"\{{config:a}}", ["{{config:a}}"]),
        (r"\{{", ["{{"]),
        (r"\\{{config:a}}", ["\\{{config:a}}"]),
        (r"\{{{{config:a}}", ["{{", Reference("config", "a")]),
        ("}}{{config:a}}}}", ["}}", Reference("config", "a"), "}}"]),
    ],
)
def test_what_parses(template: str, parts: list[object]) -> None:
    assert parse(template) == parts


@pytest.mark.parametrize(
    ("template", "position"),
    [
        ("{{", 1),
        ("a {{ config:a }}", 3),
        ("{{config:a}", 1),
        ("{{config:}}", 1),
        ("{{config:1a}}", 1),
        ("{{config:a.}}", 1),
        ("{{config:а}}", 1),  # a Cyrillic letter
        ("{{secrets:a}}", 1),
        ("{{SECRET:a}}", 1),
        ("{{{config:a}}}", 1),
        ("{{config:a}}{{config:a|default}}", 13),
        ("{{config:" + "a" * 256 + "}}", 1),
        (r"\{{ok {{", 7),
        ("{{env:HOME}}", 1),
        ("{{config:a\n}}", 1),
    ],
)
def test_what_does_not_parse_names_where(template: str, position: int) -> None:
    with pytest.raises(TemplateError) as refusal:
        parse(template)

    assert refusal.value.position == position


PIECES = st.sampled_from(
    [
        "{",
        "}",
        "{{",
        "}}",
        "\\",
        "\\{{",
        "secret:",
        "config:",
        "flag:",
        "a",
        "pw",
        "é",
        "\u2028",
        " ",
        ".",
        "",
    ]
)


@given(st.one_of(st.text(), st.lists(PIECES, max_size=30).map("".join)))
def test_the_parser_raises_its_own_error_or_says_the_whole_text_again(template: str) -> None:
    try:
        parts = parse(template)
    except TemplateError as refusal:
        assert 1 <= refusal.position <= len(template)
        assert template.startswith("{{", refusal.position - 1)
        return

    again = "".join(
        f"{{{{{part.kind}:{part.key}}}}}" if isinstance(part, Reference) else part.replace("{{", "\\{{")
        for part in parts
    )
    # Three braces can be escaped in two ways; both mean the same.
    assert parse(again) == parts
    assert again == template or "{{{" in template.replace("\\", "")


def test_references_of_a_json_value_are_those_of_its_strings_and_not_of_its_names() -> None:
    value = {"{{config:name}}": ["{{config:a}}", {"x": "{{secret:pw}} {{config:a}}"}, 1, None, True]}

    assert references(value) == [Reference("config", "a"), Reference("secret", "pw")]


def test_an_attack_on_the_parser_is_linear() -> None:
    began = time.process_time()
    for template in ("{{config:" * 20_000, "{{config:" + "a." * 100_000, "\\{{" * 50_000):
        try:
            parse(template)
        except TemplateError:
            continue

    assert time.process_time() - began < 2


# ---- resolving


def test_values_come_out_in_the_scope_of_the_reader() -> None:
    values, failures = resolved(
        {
            "url": "https://u:{{secret:pw}}@{{config:host}}:{{config:port}}/?beta={{flag:on}}&old={{flag:off}}",
            "host": "db.{{config:zone}}",
            "zone": "internal",
            "port": ConfigText("number", "5432"),
            "debug": ConfigText("boolean", "false"),
            "list": ConfigText("json", json.dumps({"a": ["{{config:host}}", 1], "{{b": r"\{{config:host}}"})),
            "told": "{{config:list}} {{config:debug}}",
            "literal": r"\{{config:host}}",
        }
    )

    assert failures == {}
    assert values["url"] == "https://u:s3cr€t@db.internal:5432/?beta=true&old=false"
    assert values["list"] == {"a": ["db.internal", 1], "{{b": "{{config:host}}"}
    assert values["told"] == '{"a":["db.internal",1],"{{b":"{{config:host}}"} false'
    assert values["literal"] == "{{config:host}}"
    assert (values["port"], values["debug"]) == (5432, False)


def test_what_comes_out_of_a_secret_is_not_expanded_again() -> None:
    values, failures = resolved({"a": "x", "b": "{{secret:brace}}", "c": "{{config:b}}"})

    assert failures == {}
    assert values["b"] == values["c"] == "{{config:a}}"


@pytest.mark.parametrize(
    ("configs", "code", "paths"),
    [
        ({"a": "{{config:b}}"}, FailureCode.MISSING, {"a": "a → b"}),
        ({"a": "{{secret:none}}"}, FailureCode.MISSING, {"a": "a → secret:none"}),
        ({"a": "{{flag:none}}"}, FailureCode.MISSING, {"a": "a → flag:none"}),
        ({"a": "{{config:a}}"}, FailureCode.CIRCULAR, {"a": "a → a"}),
        (
            {"a": "{{config:b}}", "b": "{{config:a}}", "c": "{{config:a}}"},
            FailureCode.CIRCULAR,
            {"a": "a → b → a", "b": "b → a → b", "c": "c → a → b → a"},
        ),
        (
            {"a": "{{config:b}}", "b": "x{{config:c}}", "ok": "fine"},
            FailureCode.MISSING,
            {"a": "a → b → c", "b": "b → c"},
        ),
    ],
)
def test_what_cannot_be_resolved_is_named_with_its_path_and_the_rest_is_served(
    configs: dict[str, object], code: FailureCode, paths: dict[str, str]
) -> None:
    values, failures = resolved(configs)

    assert {key: failure.chain for key, failure in failures.items()} == paths
    assert {failure.code for failure in failures.values()} == {code}
    assert values.keys() == configs.keys() - paths.keys()


def test_a_secret_that_does_not_open_takes_the_configs_that_name_it_along() -> None:
    values, failures = resolved({"a": "{{secret:pw}}", "b": "{{config:a}}", "c": "x"}, unreadable=("pw",))

    assert values == {"c": "x"}
    assert {failure.code for failure in failures.values()} == {FailureCode.UNREADABLE}
    assert failures["b"].chain == "b → a → secret:pw"


def test_a_frontends_config_never_names_a_secret_directly_or_through_others() -> None:
    values, failures = resolved(
        {"a": "{{secret:pw}}", "b": "{{config:a}}", "c": "{{config:d}}", "d": "x"}, frontend=True
    )

    assert values == {"c": "x", "d": "x"}
    assert {key: failure.code for key, failure in failures.items()} == {
        "a": FailureCode.SECRET_IN_FRONTEND,
        "b": FailureCode.SECRET_IN_FRONTEND,
    }


def chain(length: int, end: str = "end") -> dict[str, object]:
    """c0 → c1 → …: `length` references."""
    return {
        **{f"c{number:04}": f"{{{{config:c{number + 1:04}}}}}" for number in range(length)},
        f"c{length:04}": end,
    }


def test_a_chain_of_eight_references_is_served_and_the_ninth_refused() -> None:
    served, none = resolved(chain(MAX_DEPTH))
    _, refused = resolved(chain(MAX_DEPTH + 1))
    _, by_secret = resolved(chain(MAX_DEPTH, "{{secret:pw}}"))

    assert none == {}
    assert served["c0000"] == "end"
    assert list(refused) == ["c0000"]
    assert refused["c0000"].code is FailureCode.TOO_DEEP
    assert refused["c0000"].chain == " → ".join(f"c{number:04}" for number in range(10))
    assert by_secret["c0000"].chain == " → ".join([*(f"c{n:04}" for n in range(9)), "secret:pw"])


def test_a_resolved_config_holds_at_most_256_kib() -> None:
    block = "x" * (64 * 1024)
    three = "{{config:block}}" * 3
    exact = block[: RESOLVED_MAX_BYTES - 3 * 64 * 1024]

    fits, none = resolved({"block": block, "a": three + exact})
    _, refused = resolved({"block": block, "a": three + exact + "y", "b": "{{config:a}}"})

    assert none == {}
    assert len(str(fits["a"])) == RESOLVED_MAX_BYTES
    assert {key: failure.code for key, failure in refused.items()} == dict.fromkeys(
        "ab", FailureCode.TOO_LARGE
    )
    assert refused["b"].chain == "b → a → block"


def test_long_chains_rings_and_fan_outs_cost_time_in_proportion() -> None:
    ring: dict[str, object] = {f"r{n}": f"{{{{config:r{(n + 1) % 1000}}}}}" for n in range(1000)}
    laughs: dict[str, object] = {f"l{n}": f"{{{{config:l{n + 1}}}}}" * 10 for n in range(10)}
    laughs["l10"] = "ha" * 1000
    began = time.process_time()

    _, deep = resolved(chain(1000))
    _, rings = resolved(ring)
    values, large = resolved(laughs)

    assert time.process_time() - began < 2
    assert len(deep) == 1000 - MAX_DEPTH
    assert len(rings) == 1000
    assert all(failure.code is FailureCode.CIRCULAR for failure in rings.values())
    assert all(len(failure.path) <= 12 for failure in [*deep.values(), *rings.values()])
    assert {failure.code for failure in large.values()} == {FailureCode.TOO_LARGE}
    assert sum(len(json.dumps(value)) for value in values.values()) < 2 * RESOLVED_MAX_BYTES


# ---- against the plain way


class _Fails(Exception):
    pass


def plainly(key: str, configs: dict[str, str], secrets: dict[str, str] | None, trail: tuple[str, ...]) -> str:
    """By recursion, as one would write it first; raises for anything that is wrong."""
    if key in trail or key not in configs or len(trail) > MAX_DEPTH:
        raise _Fails
    out = []
    for part in parse(configs[key]):
        if isinstance(part, str):
            out.append(part)
        elif len(trail) >= MAX_DEPTH:
            raise _Fails
        elif part.kind == "config":
            out.append(plainly(part.key, configs, secrets, (*trail, key)))
        elif part.kind == "flag":
            out.append({"on": "true", "off": "false"}[part.key] if part.key in FLAGS else _fail())
        else:
            out.append(secrets[part.key] if secrets and part.key in secrets else _fail())
    return "".join(out)


def _fail() -> str:
    raise _Fails


NAMES = [f"k{number}" for number in range(14)]
REFERENCES = st.one_of(
    st.sampled_from(NAMES).map(lambda key: f"{{{{config:{key}}}}}"),
    st.sampled_from(
        ["{{secret:pw}}", "{{secret:none}}", "{{flag:on}}", "{{flag:none}}", "plain", r"\{{", "é"]
    ),
)
TEXTS = st.lists(REFERENCES, max_size=3).map("".join)


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(NAMES), TEXTS, max_size=14), st.booleans())
def test_the_same_comes_out_as_the_plain_way(configs: dict[str, str], frontend: bool) -> None:
    values, failures = resolved(dict(configs), frontend=frontend)

    for key in configs:
        try:
            expected = plainly(key, configs, None if frontend else SECRETS, ())
        except _Fails:
            assert key in failures
            assert failures[key].path[0] == key
        else:
            assert values[key] == expected
    assert values.keys() | failures.keys() == configs.keys()
