"""A flag's definition: what is read, what is refused and with which words, and what a flag answers when."""

import copy
import json
import pickle
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.flags.definition import (
    MAX_DEFINITION_BYTES,
    MAX_DEPTH,
    MAX_DESCRIPTION_CHARACTERS,
    MAX_METADATA_MEMBERS,
    MAX_SALT_CHARACTERS,
    MAX_VALUE_BYTES,
    MAX_VARIANTS,
    TARGETING_NOT_AVAILABLE,
    WHOLE,
    FlagDefinition,
    FlagState,
    InvalidDefinition,
    Variant,
    evaluate_state,
    last_edge,
    next_edge,
    parse_definition,
    schedule_edges,
)

WIRE_MEMBERS = [
    "key", "type", "enabled", "salt", "starts_at", "ends_at", "variants", "default", "off",
    "overrides", "prerequisites", "metadata", "rules",
]  # fmt: skip
START = datetime(2026, 1, 1, tzinfo=UTC)
END = datetime(2026, 2, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def boolean_flag(**members: object) -> dict[str, object]:
    return {"key": "checkout-v2", "type": "boolean", "enabled": True, **members}


def multivariate_flag(flag_type: str = "string", *values: object, **members: object) -> dict[str, object]:
    variants = [{"key": f"v{index}", "value": value} for index, value in enumerate(values or ("a", "b"))]
    return {"key": "colour", "type": flag_type, "enabled": True, "variants": variants, **members}


def errors_of(document: object, **options: str) -> dict[str, list[str]]:
    with pytest.raises(InvalidDefinition) as refusal:
        parse_definition(document, **options)
    return refusal.value.errors


def nested(depth: int) -> object:
    value: object = "leaf"
    for _ in range(depth):
        value = [value]
    return value


# What JSON can say, and what Python's JSON parser lets pass besides.
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.sampled_from(["\ud800", "a\x00b", 10**400, -(10**400), 2**64, "on", "off", "2026-01-01T00:00:00Z"]),
)
names = st.one_of(st.text(), st.sampled_from(["key", "value", "\udfff", "\x00"]))
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(names, inner), max_leaves=12
)

entry_keys = st.from_regex(r"[a-zA-Z]([a-zA-Z0-9_.:-]{0,20}[a-zA-Z0-9])?", fullmatch=True)
texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20)
numbers = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
sound_values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
values_by_type = {
    "boolean": st.none() | st.booleans(),
    "string": st.none() | texts,
    "number": st.none() | numbers,
    "json": sound_values,
}
zones = st.sampled_from([UTC, timezone(timedelta(hours=-5)), timezone(timedelta(hours=5, minutes=45))])
# Unix seconds; the last one is a day before the year 10000.
moments = st.builds(datetime.fromtimestamp, st.integers(86_400, 253_402_214_400), zones)


@st.composite
def sound_documents(draw: st.DrawFn) -> dict[str, object]:
    flag_type = draw(st.sampled_from(sorted(values_by_type)))
    keys = draw(st.lists(entry_keys, min_size=1, max_size=5, unique=True))
    variants = [{"key": key, "value": draw(values_by_type[flag_type])} for key in keys]
    choices = st.none() | st.sampled_from(keys)
    starts_at, ends_at = sorted(draw(st.lists(moments, min_size=2, max_size=2, unique=True)))
    members = {
        "enabled": draw(st.booleans()),
        "salt": draw(texts),
        "starts_at": draw(st.none() | st.just(starts_at.isoformat())),
        "ends_at": draw(st.none() | st.just(ends_at.isoformat())),
        "default": draw(choices),
        "off": draw(choices),
        "overrides": {},
        "prerequisites": [],
        "metadata": draw(st.dictionaries(texts, texts | numbers | st.booleans(), max_size=4)),
        "rules": [],
        "description": draw(texts),
    }
    left_out = draw(st.sets(st.sampled_from(sorted(members))))
    kept = {name: member for name, member in members.items() if name not in left_out}
    if flag_type == "boolean" and draw(st.booleans()):
        return {"key": draw(entry_keys), **kept, "default": "on", "off": "off"}
    return {"key": draw(entry_keys), "type": flag_type, "variants": variants, **kept}


@st.composite
def nearly_sound_documents(draw: st.DrawFn) -> dict[str, object]:
    document = draw(sound_documents())
    spoilt = draw(st.sets(st.sampled_from([*WIRE_MEMBERS, "description", "unknown"]), min_size=1, max_size=4))
    document.update({name: draw(json_values) for name in sorted(spoilt)})
    return document


# What is filled in


def test_a_boolean_flag_needs_no_more_than_its_key():
    document = {"key": "checkout-v2"}

    definition = parse_definition(document)

    assert definition == FlagDefinition(
        key="checkout-v2",
        type="boolean",
        enabled=False,
        salt="",
        starts_at=None,
        ends_at=None,
        variants=(Variant("on", True), Variant("off", False)),
        default="on",
        off="off",
        overrides={},
        prerequisites=(),
        metadata={},
        rules=(),
        description="",
    )
    assert definition.is_boolean_flag


def test_a_multivariate_flag_serves_null_where_nothing_is_chosen():
    document = multivariate_flag("string", "red", "blue")

    definition = parse_definition(document)

    assert definition.variants == (Variant("v0", "red"), Variant("v1", "blue"))
    assert (definition.default, definition.off) == (None, None)
    assert not definition.is_boolean_flag


def test_on_and_off_make_a_boolean_flag_in_either_order():
    variants = [{"key": "off", "value": False}, {"key": "on", "value": True}]

    definition = parse_definition(boolean_flag(variants=variants))

    assert definition.is_boolean_flag
    assert (definition.default, definition.off) == ("on", "off")
    assert [variant.key for variant in definition.variants] == ["off", "on"]


@pytest.mark.parametrize(
    "variants",
    [
        [{"key": "on", "value": True}],
        [{"key": "on", "value": False}, {"key": "off", "value": True}],
        [{"key": "on", "value": True}, {"key": "off", "value": None}],
        [{"key": "on", "value": True}, {"key": "off", "value": False}, {"key": "maybe", "value": None}],
    ],
)
def test_booleans_with_any_other_variants_are_multivariate(variants):
    document = boolean_flag(variants=variants)

    definition = parse_definition(document)

    assert not definition.is_boolean_flag
    assert (definition.default, definition.off) == (None, None)


def test_an_explicit_null_is_kept_and_not_filled_in():
    document = boolean_flag(default=None, off=None)

    definition = parse_definition(document)

    assert (definition.default, definition.off) == (None, None)
    assert definition.is_boolean_flag


# The key


@pytest.mark.parametrize("key", ["a", "Z9", "new.checkout", "a:b_c-d.e", "a" * 255])
def test_entry_keys_are_taken_as_they_are(key):
    variants = [{"key": key, "value": 1}]

    definition = parse_definition({"key": key, "type": "number", "variants": variants, "default": key})

    assert definition.key == definition.default == definition.variants[0].key == key


@pytest.mark.parametrize(
    "key", ["", "9a", "a-", ".a", "a b", "a\n", "é", "aé", "a" * 256, "a/b", None, 1, True, [], {"a": 1}]
)
def test_what_is_no_entry_key_is_refused_for_flags_and_variants(key):
    document = multivariate_flag(key=key, variants=[{"key": key, "value": "a"}])

    errors = errors_of(document)

    assert list(errors) == ["key", "variants.0.key"]
    assert "at most 255 ASCII letters" in errors["key"][0]


def test_a_known_key_may_be_left_out_or_repeated_but_not_changed():
    document = boolean_flag()
    del document["key"]

    left_out = parse_definition(document, key="checkout-v2")
    repeated = parse_definition(boolean_flag(), key="checkout-v2")

    assert left_out == repeated
    assert left_out.key == "checkout-v2"
    assert list(errors_of(boolean_flag(), key="checkout-v3")) == ["key"]
    assert list(errors_of(boolean_flag(key=None), key="checkout-v2")) == ["key"]
    assert list(errors_of(document, key="9")) == ["key"]
    assert list(errors_of(document)) == ["key"]


# Variants and their values


@pytest.mark.parametrize(
    ("flag_type", "fitting", "foreign"),
    [
        ("boolean", [True, False, None], [1, 0, "true", [], {}]),
        ("string", ["", "a", None], [1, True, [], {}]),
        ("number", [0, -1, 2.5, None], ["1", True, False, [], {}]),
        ("json", [0, "a", True, None, [1], {"a": []}], []),
    ],
)
def test_values_are_of_the_flags_type_or_null(flag_type, fitting, foreign):
    document = multivariate_flag(flag_type, *fitting, *foreign)

    definition = parse_definition(multivariate_flag(flag_type, *fitting))

    assert [variant.value for variant in definition.variants] == fitting
    if foreign:
        first = len(fitting)
        refused = [f"variants.{index}.value" for index in range(first, first + len(foreign))]
        assert list(errors_of(document)) == refused


@pytest.mark.parametrize("flag_type", ["", "Boolean", "object", "integer", None, 1, ["string"], {}])
def test_an_unknown_type_is_refused_without_blaming_the_variants(flag_type):
    document = multivariate_flag("json", "a", 1, [True], type=flag_type)

    errors = errors_of(document)

    assert errors == {"type": ["Choose one of boolean, string, number, json."]}


@pytest.mark.parametrize("variants", [None, [], {}, "on", 1, True])
def test_variants_are_an_array_of_at_least_one(variants):
    document = boolean_flag(variants=variants, default="on")

    errors = errors_of(document)

    assert errors == {"variants": [f"Give an array of 1 to {MAX_VARIANTS} variants."]}


def test_only_a_boolean_flag_may_leave_its_variants_out():
    document = {"key": "colour", "type": "string"}

    errors = errors_of(document)

    assert list(errors) == ["variants"]
    assert parse_definition({"key": "colour", "type": "boolean"}).is_boolean_flag


def test_a_hundred_variants_are_taken_and_one_more_is_refused():
    most = multivariate_flag("number", *range(MAX_VARIANTS))
    more = multivariate_flag("number", *range(MAX_VARIANTS + 1))

    definition = parse_definition(most)

    assert len(definition.variants) == 100
    assert list(errors_of(more)) == ["variants"]


def test_a_variant_is_an_object_of_exactly_a_key_and_a_value():
    variants = [
        {"key": "a", "value": None},
        {"key": "b"},
        {"value": "c"},
        {"key": "d", "value": "d", "weight": 1},
        "e",
        {"key": "a", "value": "again"},
    ]

    errors = errors_of(multivariate_flag(variants=variants))

    assert list(errors) == [
        "variants.1.value",
        "variants.2.key",
        "variants.3.weight",
        "variants.4",
        "variants.5.key",
    ]
    assert errors["variants.1.value"] == ["Give a value; null is one."]
    assert "an earlier one has this" in errors["variants.5.key"][0]


@pytest.mark.parametrize("member", ["default", "off"])
def test_default_and_off_name_a_variant(member):
    document = multivariate_flag()

    definition = parse_definition({**document, member: "v1"})

    assert getattr(definition, member) == "v1"
    for wrong in ["v2", "V1", "", 1, True, ["v1"], {}]:
        assert errors_of({**document, member: wrong}) == {
            member: ["Give the key of one of the variants, or null for none."]
        }


# Simple members


@pytest.mark.parametrize(
    ("member", "right", "wrong"),
    [
        ("enabled", [True, False], [None, 0, 1, "true", [], {}]),
        (
            "salt",
            ["", "2026", "s" * MAX_SALT_CHARACTERS],
            [None, 1, True, [], "s" * (MAX_SALT_CHARACTERS + 1)],
        ),
        (
            "description",
            ["", "New checkout", "d" * MAX_DESCRIPTION_CHARACTERS],
            [None, 1, {}, "d" * (MAX_DESCRIPTION_CHARACTERS + 1)],
        ),
        (
            "metadata",
            [{}, {"a": "b", "n": 1, "f": 0.5, "t": True}, {str(n): n for n in range(MAX_METADATA_MEMBERS)}],
            [None, [], "a", 1, {str(n): n for n in range(MAX_METADATA_MEMBERS + 1)}],
        ),
    ],
)
def test_simple_members_are_kept_or_refused_by_name(member, right, wrong):
    document = boolean_flag()

    kept = [getattr(parse_definition({**document, member: value}), member) for value in right]

    assert kept == right
    for value in wrong:
        assert list(errors_of({**document, member: value})) == [member]


@pytest.mark.parametrize("value", [None, [], {}, ["a"], {"b": 1}])
def test_metadata_holds_strings_numbers_and_booleans_only(value):
    document = boolean_flag(metadata={"good": "a", "bad": value})

    errors = errors_of(document)

    assert errors == {"metadata.bad": ["Give a string, a number or a boolean."]}


@pytest.mark.parametrize(
    ("member", "empty", "filled", "misshapen"),
    [
        ("rules", [], [{"serve": "on"}], {}),
        ("overrides", {}, {"u1": "on"}, []),
        ("prerequisites", [], [{"flag": "new.checkout", "variant": "on"}], {}),
    ],
)
def test_targeting_may_be_there_but_must_be_empty_as_yet(member, empty, filled, misshapen):
    document = boolean_flag()

    definition = parse_definition({**document, member: empty})

    assert definition == parse_definition(document)
    assert errors_of({**document, member: filled}) == {member: [TARGETING_NOT_AVAILABLE]}
    for wrong in [misshapen, None, "on", 1]:
        assert errors_of({**document, member: wrong})[member] != [TARGETING_NOT_AVAILABLE]


def test_unknown_members_are_refused_one_by_one():
    document = boolean_flag(owner="alice", tags=["a"], Enabled=True)

    errors = errors_of(document)

    assert list(errors) == ["owner", "tags", "Enabled"]
    assert "known here are key, type, enabled" in errors["owner"][0]


# The schedule


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-01T00:00:00Z", START),
        ("2026-01-01t00:00:00z", START),
        ("2026-01-01T02:30:00+02:30", START),
        ("2025-12-31T19:00:00-05:00", START),
        ("2026-01-01T00:00:00-00:00", START),
        ("2026-01-01T00:00:00.000Z", START),
        ("1970-01-01T00:00:01Z", datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_a_timestamp_with_any_offset_becomes_utc(text, moment):
    document = boolean_flag(starts_at=text)

    definition = parse_definition(document)

    assert definition.starts_at == moment
    assert definition.starts_at.tzinfo is UTC
    assert definition.to_wire()["starts_at"] == f"{moment:%Y-%m-%dT%H:%M:%SZ}"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("2026-01-01T00:00:00", "with offset"),
        ("2026-01-01", "with offset"),
        ("2026-01-01 00:00:00Z", "with offset"),
        ("2026-01-01T00:00Z", "with offset"),
        ("20260101T000000Z", "with offset"),
        ("2026-01-01T00:00:00+0200", "with offset"),
        ("2026-01-01T00:00:00+24:00", "with offset"),
        ("2026-01-01T00:00:00+02:60", "with offset"),
        ("2026-01-01T00:00:00Z\n", "with offset"),
        ("٢٠٢٦-01-01T00:00:00Z", "with offset"),
        ("", "with offset"),
        (1767225600, "with offset"),
        (True, "with offset"),
        ([], "with offset"),
        ("2026-01-01T00:00:00.5Z", "whole seconds"),
        ("2026-01-01T00:00:00.000000001Z", "whole seconds"),
        ("2026-02-29T00:00:00Z", "that exists"),
        ("2026-01-01T24:00:00Z", "that exists"),
        ("2026-01-01T23:59:60Z", "that exists"),
        ("0000-01-01T00:00:00Z", "that exists"),
        ("0001-01-01T00:00:00+01:00", "that exists"),
        ("9999-12-31T23:59:59-01:00", "that exists"),
        ("0001-01-01T00:00:00Z", "null for no bound"),
        ("1970-01-01T00:00:00Z", "null for no bound"),
    ],
)
def test_what_is_no_whole_second_with_an_offset_is_refused(value, message):
    document = boolean_flag(starts_at=value, ends_at=value)

    errors = errors_of(document)

    assert list(errors) == ["starts_at", "ends_at"]
    assert [len(messages) for messages in errors.values()] == [1, 1]
    assert message in errors["starts_at"][0]


def test_a_schedule_ends_after_it_starts():
    second = boolean_flag(starts_at="2026-01-01T00:00:00Z", ends_at="2026-01-01T00:00:01Z")
    nothing = boolean_flag(starts_at="2026-01-01T00:00:00Z", ends_at="2026-01-01T01:00:00+01:00")
    backwards = boolean_flag(starts_at="2026-01-01T00:00:01Z", ends_at="2026-01-01T00:00:00Z")

    definition = parse_definition(second)

    assert definition.ends_at - definition.starts_at == SECOND
    assert errors_of(nothing) == errors_of(backwards) == {"ends_at": ["Choose a time after `starts_at`."]}


# Sound JSON


@pytest.mark.parametrize(
    "number",
    [
        float("nan"),
        float("inf"),
        float("-inf"),
        10**309,
        -(10**309),
        pytest.param(10**5000, id="5001 digits"),
        2**53 + 1,
        2**64,
        -(2**70),
    ],
)
def test_numbers_that_clients_would_not_get_back_are_refused(number):
    document = multivariate_flag("number", number, metadata={"limit": number})

    errors = errors_of(document)

    assert list(errors) == ["variants.0.value", "metadata.limit"]


@pytest.mark.parametrize("number", [0, -0.0, 2**53 - 1, -(2**53) + 1, 5e-324, 1.7976931348623157e308])
def test_every_number_that_a_double_holds_is_kept_as_written(number):
    document = multivariate_flag("number", number)

    definition = parse_definition(document)

    assert repr(definition.variants[0].value) == repr(number)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_double_that_storage_wrote_out_in_digits_is_still_that_double(number):
    # So a jsonb column gives it back: 1e+300 as a one with 300 zeros.
    written_out = json.loads(f"{Decimal(repr(number)):f}")

    definition = parse_definition(multivariate_flag("number", written_out, 10**300))

    assert definition.variants[0].value == number
    assert repr(definition.variants[1].value) == "1e+300"


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\udc00\ud800", "a\x00"])
def test_text_that_cannot_be_stored_is_refused_wherever_it_stands(text):
    document = multivariate_flag("json", {"inner": [text]}, salt=text, metadata={text: "a"}, description=text)
    document[text] = 1

    errors = errors_of(document)

    assert {"variants.0.value.inner.0", "salt", "description"} <= set(errors)
    assert len(errors) == 5
    json.dumps(errors, ensure_ascii=False).encode()


def test_a_definition_is_twenty_arrays_and_objects_deep_at_most():
    deepest = multivariate_flag("json", nested(MAX_DEPTH - 3))
    deeper = multivariate_flag("json", nested(MAX_DEPTH - 2))
    bottomless = multivariate_flag("json", nested(100_000))

    definition = parse_definition(deepest)

    assert definition.variants[0].value == nested(17)
    assert list(errors_of(deeper)) == ["variants.0.value" + ".0" * 17]
    assert list(errors_of(bottomless)) == list(errors_of(deeper))


def test_a_value_is_measured_in_bytes_of_compact_json():
    largest = multivariate_flag("string", "é" * ((MAX_VALUE_BYTES - 2) // 2))
    larger = multivariate_flag("string", "e" + "é" * ((MAX_VALUE_BYTES - 2) // 2))

    definition = parse_definition(largest)

    assert len(definition.variants[0].value) == 16_383
    assert errors_of(larger) == {"variants.0.value": ["Give at most 32,768 bytes of JSON."]}


def test_a_definition_is_measured_in_bytes_of_its_finished_wire_form():
    document = multivariate_flag("string", "a" * 30_000, "b" * 30_000, metadata={"note": ""})
    wire = json.dumps(parse_definition(document).to_wire(), separators=(",", ":"))
    room = MAX_DEFINITION_BYTES - len(wire)

    definition = parse_definition({**document, "metadata": {"note": "n" * room}})

    assert len(json.dumps(definition.to_wire(), separators=(",", ":"))) == 65_536
    assert parse_definition(definition.to_wire()) == definition
    assert errors_of({**document, "metadata": {"note": "n" * (room + 1)}}) == {
        WHOLE: ["Shorten the definition to at most 65,536 bytes of JSON."]
    }


@pytest.mark.parametrize("document", [None, True, 1, 0.5, float("nan"), "flag", "\ud800", [], [{"key": "a"}]])
def test_a_definition_is_an_object(document):
    errors = errors_of(document)

    assert errors == {WHOLE: ["Give an object with the flag's definition."]}


def test_what_json_does_not_know_is_refused_too():
    document = boolean_flag(starts_at=START, metadata={1: "a", "b": b"c"}, rules=())

    errors = errors_of(document)

    assert {"starts_at", "metadata", "metadata.b", "rules"} == set(errors)


# Errors


def test_every_error_is_listed_at_once():
    document = {
        "key": "9",
        "type": "number",
        "enabled": "yes",
        "salt": 1,
        "starts_at": "soon",
        "ends_at": "2026-01-01T00:00:00.5Z",
        "variants": [{"key": "a", "value": True}, {"key": "b", "value": 1}],
        "default": "c",
        "off": "d",
        "overrides": {"u1": "a"},
        "prerequisites": {},
        "metadata": {"a": None},
        "rules": [{"serve": "a"}],
        "owner": "alice",
    }

    errors = errors_of(document)

    named = (set(document) - {"type", "variants", "metadata"}) | {"variants.0.value", "metadata.a"}
    assert set(errors) == named
    assert all(message.endswith(".") for messages in errors.values() for message in messages)


def test_a_refusal_reads_as_text_and_survives_a_process_boundary():
    with pytest.raises(ValueError, match=r"^type: Choose one of .* rules: Leave this empty") as refusal:
        parse_definition(boolean_flag(type="object", variants=[{"key": "a", "value": 1}], rules=[1]))

    revived = pickle.loads(pickle.dumps(refusal.value))

    assert isinstance(revived, InvalidDefinition)
    assert revived.errors == refusal.value.errors
    assert str(revived) == str(refusal.value)


def test_a_long_name_does_not_make_a_long_path():
    document = boolean_flag(**{"n" * 10_000: 1})

    errors = errors_of(document)

    assert list(errors) == ["n" * 64 + "…"]


@given(json_values | nearly_sound_documents())
def test_any_json_is_a_definition_or_a_refusal_and_nothing_else(document):
    try:
        definition, errors = parse_definition(document), None
    except InvalidDefinition as refusal:
        definition, errors = None, refusal.errors

    if definition is None:
        assert errors
        assert all(errors.values())
        json.dumps(errors, ensure_ascii=False).encode()
    else:
        assert parse_definition(definition.to_wire()) == definition


# The wire form


def test_the_wire_form_has_all_members_in_their_order():
    document = boolean_flag(starts_at="2026-01-01T01:00:00+01:00", metadata={"team": "pay"})

    wire = parse_definition(document).to_wire()

    assert list(wire) == WIRE_MEMBERS
    assert wire == {
        "key": "checkout-v2",
        "type": "boolean",
        "enabled": True,
        "salt": "",
        "starts_at": "2026-01-01T00:00:00Z",
        "ends_at": None,
        "variants": [{"key": "on", "value": True}, {"key": "off", "value": False}],
        "default": "on",
        "off": "off",
        "overrides": {},
        "prerequisites": [],
        "metadata": {"team": "pay"},
        "rules": [],
    }


def test_a_description_travels_only_where_there_is_one():
    described = boolean_flag(description="New checkout")

    definition = parse_definition(described)

    assert definition.to_wire()["description"] == "New checkout"
    assert "description" not in parse_definition(boolean_flag(description="")).to_wire()


@given(sound_documents())
def test_what_is_written_reads_back_the_same(document):
    definition = parse_definition(document)

    wire = definition.to_wire()
    text = json.dumps(wire, ensure_ascii=False, allow_nan=False)

    assert parse_definition(wire) == definition
    # Python's == takes True for 1; the text does not.
    assert json.dumps(parse_definition(json.loads(text)).to_wire(), ensure_ascii=False) == text
    assert wire.get("metadata") == document.get("metadata", {})


@given(sound_documents())
def test_a_definition_shares_nothing_with_what_it_came_from_or_goes_to(document):
    before = copy.deepcopy(document)
    definition = parse_definition(document)
    wire = definition.to_wire()

    definition.to_wire()["variants"].clear()
    for variant in [*document.get("variants", []), *definition.to_wire()["variants"]]:
        if isinstance(variant["value"], dict | list):
            variant["value"].clear()
        variant["key"] = "changed"
    document.get("metadata", {}).clear()

    assert definition.to_wire() == wire
    assert parse_definition(before) == definition


def test_a_definition_cannot_be_changed():
    definition = parse_definition(boolean_flag())

    with pytest.raises(AttributeError):
        definition.enabled = False

    assert definition.enabled


# What a flag answers


def test_an_enabled_flag_serves_its_default():
    definition = parse_definition(boolean_flag())

    state = evaluate_state(definition, START)

    assert state == FlagState(enabled=True, variant="on", value=True, reason="STATIC")


def test_a_null_default_is_no_variant_and_a_null_value():
    definition = parse_definition(multivariate_flag(off="v0"))

    state = evaluate_state(definition, START)

    assert state == FlagState(enabled=True, variant=None, value=None, reason="DEFAULT")


def test_a_variant_whose_value_is_null_is_still_a_variant():
    definition = parse_definition(multivariate_flag("json", None, default="v0"))

    state = evaluate_state(definition, START)

    assert state == FlagState(enabled=True, variant="v0", value=None, reason="STATIC")


@pytest.mark.parametrize(("off", "value"), [("v1", "b"), (None, None)])
def test_a_disabled_flag_serves_off_whatever_its_schedule(off, value):
    document = multivariate_flag(enabled=False, default="v0", off=off, starts_at="2026-01-01T00:00:00Z")
    definition = parse_definition(document)

    states = {evaluate_state(definition, at).reason for at in (START - SECOND, START, END)}
    state = evaluate_state(definition, START)

    assert states == {"DISABLED"}
    assert state == FlagState(enabled=False, variant=off, value=value, reason="DISABLED")


@pytest.mark.parametrize(
    ("at", "on"),
    [
        (START - SECOND, False),
        (START - timedelta(microseconds=1), False),
        (START, True),
        (START.astimezone(timezone(timedelta(hours=9))), True),
        (END - timedelta(microseconds=1), True),
        (END, False),
        (END + SECOND, False),
    ],
)
def test_a_scheduled_flag_is_on_from_its_start_up_to_but_not_at_its_end(at, on):
    document = boolean_flag(starts_at="2026-01-01T00:00:00Z", ends_at="2026-02-01T00:00:00Z")
    definition = parse_definition(document)

    state = evaluate_state(definition, at)

    if on:
        assert state == FlagState(enabled=True, variant="on", value=True, reason="STATIC")
    else:
        assert state == FlagState(enabled=False, variant="off", value=False, reason="SCHEDULED")


@pytest.mark.parametrize(
    ("schedule", "before", "after"),
    [
        ({"starts_at": "2026-01-01T00:00:00Z"}, False, True),
        ({"ends_at": "2026-01-01T00:00:00Z"}, True, False),
        ({}, True, True),
    ],
)
def test_a_bound_that_is_not_given_binds_nothing(schedule, before, after):
    definition = parse_definition(boolean_flag(**schedule))

    answers = [evaluate_state(definition, at).enabled for at in (START - SECOND, START)]

    assert answers == [before, after]


# Edges


def test_an_enabled_flag_has_an_edge_at_each_bound():
    document = boolean_flag(starts_at="2026-01-01T00:00:00Z", ends_at="2026-02-01T00:00:00Z")

    edges = schedule_edges(parse_definition(document))

    assert edges == (1767225600, 1769904000)
    assert schedule_edges(parse_definition({**document, "starts_at": None})) == (1769904000,)
    assert schedule_edges(parse_definition(boolean_flag())) == ()
    assert schedule_edges(parse_definition({**document, "enabled": False})) == ()


@pytest.mark.parametrize(
    ("at", "following", "passed"),
    [(9, 10, 0), (9.9, 10, 0), (10, 20, 10), (10.5, 20, 10), (19, 20, 10), (20, None, 20), (99, None, 20)],
)
def test_the_next_edge_lies_after_now_and_the_last_one_may_be_now(at, following, passed):
    edges = [20, 10, 20]

    found = (next_edge(edges, at), last_edge(iter(edges), at))

    assert found == (following, passed)


def test_without_edges_none_follows_and_none_has_passed():
    edges: tuple[int, ...] = ()

    found = (next_edge(edges, 0), last_edge(edges, 2_000_000_000))

    assert found == (None, 0)


@given(sound_documents(), moments)
def test_between_two_edges_an_answer_does_not_change(document, at):
    definition = parse_definition(document)
    edges = schedule_edges(definition)

    last = last_edge(edges, at.timestamp())
    following = next_edge(edges, at.timestamp())

    state = evaluate_state(definition, at)
    assert evaluate_state(definition, datetime.fromtimestamp(last, UTC)) == state
    if following is not None:
        assert evaluate_state(definition, datetime.fromtimestamp(following, UTC) - SECOND) == state
        assert evaluate_state(definition, datetime.fromtimestamp(following, UTC)).enabled != state.enabled
