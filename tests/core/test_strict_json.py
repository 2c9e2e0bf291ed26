"""JSON as the RFC means it, where Python is lax."""

import pytest

from apps.core import strict_json
from apps.core.errors import InvalidInput, MalformedRequest, NexusError

SECRET = "hunter2"


@pytest.mark.parametrize(
    "text",
    ["NaN", "[Infinity]", '{"a": -Infinity}', "1e999", '{"a": 1, "a": 2}', r'"\ud800"', r'{"\udfff": 1}'],
)
def test_what_parses_and_is_still_no_json_is_invalid(text: str) -> None:
    with pytest.raises(InvalidInput):
        strict_json.loads(text)


@pytest.mark.parametrize("data", [b"", b"{", b'"\xff"', b"{'a': 1}", b"[" * 100_000, b"[" * 65 + b"]" * 65])
def test_what_does_not_parse_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedRequest):
        strict_json.loads(data)


@pytest.mark.parametrize("text", [f'{{"value": "{SECRET}"', f'{{"value": "{SECRET}", "value": "{SECRET}"}}'])
def test_the_refusal_does_not_quote_what_was_sent(text: str) -> None:
    with pytest.raises(NexusError) as refused:
        strict_json.loads(text)

    assert SECRET not in refused.value.detail
    assert SECRET not in str(refused.value.members)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("value", [None, True, 0, -1.5, "ä😀", [], {}, {"b": [1, {"a": None}], "a": ""}])
def test_what_is_json_comes_back_as_it_was_members_in_their_order(value: object) -> None:
    text = strict_json.dumps(value)

    assert strict_json.loads(text) == strict_json.loads(text.encode()) == value
    assert strict_json.dumps(strict_json.loads(text)) == text
