"""Entries as files: read back by the programs that people use, and what imports refuse."""

import io
import json
import math
import subprocess
from pathlib import Path
from time import process_time
from typing import Any

import dotenv
import pytest
import yaml as yaml_1_1
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from apps.core.errors import InvalidInput
from apps.vault.formats import Document, Item, read, write
from apps.vault.formats.writers import variable_name

CANARY = "zQ7-canary-bird-4xK9-sings"

# What quoting gets wrong comes up far too seldom by chance.
AWKWARD = st.text(
    st.sampled_from("'\"\\\\\n\r\t #$`!{}:=-~&*%@,[]|>?a0.eén\x01\x1b\x7f\x85\u2028\ufeff\ufffe😀")
)
TEXTS = st.one_of(st.text(st.characters(exclude_categories=["Cs"])), AWKWARD)
WITHOUT_NUL = TEXTS.filter(lambda text: "\x00" not in text)
WORDS = ["y", "no", "On", "null", "true", "e", "path", "ifs", "home", "a:b", "a.b-c", "ps1", "lc_all"]
KEYS = st.one_of(
    st.from_regex(r"[a-zA-Z]([a-zA-Z0-9_.:-]{0,8}[a-zA-Z0-9])?", fullmatch=True), st.sampled_from(WORDS)
)
NUMBERS = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False))
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=12,
)
MANY = settings(deadline=None, max_examples=150)


def items_of(values: dict[str, Any], kind: str = "config") -> list[Item]:
    return [
        Item(kind, key, value if isinstance(value, str) else json.dumps(value), value)
        for key, value in values.items()
    ]


def by_python_dotenv(content: str, folder: Path | None = None) -> dict[str, str | None]:
    if folder is not None:
        # As people do: from a file that is opened as text.
        (folder / ".env").write_bytes(content.encode())
        return dotenv.dotenv_values(folder / ".env", interpolate=False)
    return dotenv.dotenv_values(stream=io.StringIO(content), interpolate=False)


def by_shell(content: str, names: list[str], folder: Path, shell: str = "sh") -> list[str]:
    (folder / "file").write_bytes(content.encode())
    print_all = "".join(f'printf "%s\\0" "${name}";' for name in names)
    script = f'set -eu; . "$1"; {print_all}'
    found = subprocess.run([shell, "-c", script, shell, folder / "file"], capture_output=True, check=True)
    return found.stdout.decode().split("\0")[:-1]


def refusal(form: str, content: str, **options: Any) -> InvalidInput:
    with pytest.raises(InvalidInput) as raised:
        read(form, content, **options)
    return raised.value


# ---- what is written is read back


@MANY
@given(values=st.dictionaries(KEYS, WITHOUT_NUL, max_size=5, min_size=1))
@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_sh_is_read_back_by_shells(
    values: dict[str, str], shell: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    names = [variable_name(key) for key in values]
    assume(len(set(names)) == len(names))
    content = write("sh", items_of(values))

    found = by_shell(content, names, tmp_path_factory.mktemp("sh"), shell)

    assert found == list(values.values())


def test_what_a_shell_sources_reaches_the_programs_that_it_starts(tmp_path: Path) -> None:
    (tmp_path / "file").write_text(write("sh", items_of({"a.b": "it's $HOME `id`\n"})))

    found = subprocess.run(
        ["sh", "-c", '. "$1"; env -0', "sh", tmp_path / "file"], capture_output=True, check=True
    )

    assert b"A_B=it's $HOME `id`\n" in found.stdout.split(b"\0")


def test_a_name_that_shells_keep_is_refused() -> None:
    for key in ("ppid", "optind", "uid", "lineno", "random", "bash_env", "shellopts"):
        with pytest.raises(InvalidInput, match=key):
            write("sh", items_of({key: "1"}))
        assert by_python_dotenv(write("dotenv", items_of({key: "1"}))) == {key.upper(): "1"}


@MANY
@given(values=st.dictionaries(KEYS, WITHOUT_NUL, max_size=5))
def test_dotenv_is_read_back_by_python_dotenv(
    values: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    names = [variable_name(key) for key in values]
    assume(len(set(names)) == len(names))
    expected = dict(zip(names, values.values(), strict=True))

    content = write("dotenv", items_of(values))

    assert by_python_dotenv(content) == expected
    assert by_python_dotenv(content, tmp_path_factory.mktemp("dotenv")) == expected
    # And by ourselves.
    assert read("dotenv", content).configs == expected


@MANY
@given(text=WITHOUT_NUL)
def test_dotenv_writes_any_one_text(text: str) -> None:
    content = write("dotenv", items_of({"first": 'it\'s "1" \\ one', "a": text, "z": "last ' \" \\ one"}))

    assert by_python_dotenv(content)["A"] == text


@MANY
@given(values=st.dictionaries(KEYS, JSON, max_size=4))
def test_json_and_yaml_are_read_back_with_their_types(values: dict[str, Any]) -> None:
    items = items_of(values)
    in_json, in_yaml = write("json", items), write("yaml", items)

    assert same(json.loads(in_json), values)
    assert same(YAML(typ="safe", pure=True).load(in_yaml), values)
    assert same(yaml_1_1.safe_load(in_yaml), values)
    if not {"secrets", "configs"} & values.keys():
        assert same(read("json", in_json).configs, values)
        assert same(read("yaml", in_yaml).configs, values)


@MANY
@given(values=st.dictionaries(KEYS, JSON, max_size=4))
def test_yaml_that_others_write_is_read_as_they_read_it(values: dict[str, Any]) -> None:
    assume(not {"secrets", "configs"} & values.keys())
    written = io.StringIO()
    YAML(typ="safe", pure=True).dump(values, written)
    try:
        theirs = YAML(typ="safe", pure=True).load(written.getvalue())
    except (YAMLError, ValueError):
        # That writer does not quote all that its own reader needs quoted.
        return
    assume(same(theirs, values) and "\x85" not in written.getvalue())

    assert same(dict(read("yaml", written.getvalue()).configs), values)


def same(found: Any, expected: Any) -> bool:
    """Equal, and of one type all the way down: to Python 1, 1.0 and True are equal."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(same(found[name], expected[name]) for name in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    return type(found) is type(expected) and bool(found == expected)


@pytest.mark.parametrize(
    "text",
    [
        "yes",
        "NO",
        "on",
        "off",
        "y",
        "null",
        "~",
        "",
        "1",
        "1e3",
        "0o7",
        "0777",
        "1_000",
        "12:30:45",
        "2026-01-31",
        "0x1F",
        ".inf",
        ".NaN",
        "<<",
        "=",
        " a",
        "a ",
        "a # b",
        "a: b",
        "- a",
        "[a",
        "{a",
        "&a",
        "*a",
        "!a",
        "|",
        ">",
        "%a",
        "@a",
        "`a",
        "\t",
        "\r",
        "\r\n",
        "a\nb",
        "\x00",
        "\x1b",
        "\x85",
        "\u2028",
        "\u2029",
        "\ufeff",
        "😀",
        "---",
        "...",
        "true",
        "\ufffe",
        "\U0001fffe",
    ],
)
def test_yaml_reads_each_of_these_texts_as_a_text(text: str) -> None:
    content = write("yaml", items_of({"a": text, "b": [text], "c": {text: text}}))

    for found in (
        YAML(typ="safe", pure=True).load(content),
        yaml_1_1.safe_load(content),
        dict(read("yaml", content).configs),
    ):
        assert found == {"a": text, "b": [text], "c": {text: text}}


def test_yaml_writes_long_names_and_numbers_that_readers_disagree_about() -> None:
    values = {"no": 1e16, "a": [1e-7, -0.0, 10**300, 1e300], "j": {"x" * 5_000: 1}}
    content = write("yaml", items_of(values))

    assert content.startswith('"no": 1.0e+16\n')
    assert YAML(typ="safe", pure=True).load(content) == values
    assert yaml_1_1.safe_load(content) == values
    assert math.copysign(1, yaml_1_1.safe_load(content)["a"][1]) == -1
    assert read("yaml", content).configs == values


def test_nothing_makes_an_empty_file_of_each_format() -> None:
    assert [write(form, []) for form in ("sh", "dotenv", "json", "yaml")] == ["", "", "{}\n", "{}\n"]


# ---- what cannot be written is refused with the key named


@pytest.mark.parametrize("form", ["sh", "dotenv"])
def test_nul_is_refused_by_name_and_without_the_text(form: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        write(form, items_of({"good": "a", "bad.one": f"{CANARY}\x00"}))

    assert list(raised.value.errors) == ["bad.one"]
    assert CANARY not in raised.value.detail


def test_collisions_are_refused_with_the_pair() -> None:
    items = items_of({"a.b": CANARY}, "secret") + items_of({"A_B": CANARY})

    for form in ("sh", "dotenv"):
        with pytest.raises(InvalidInput, match=r"secret a\.b and the config A_B would both be A_B") as raised:
            write(form, items)
        assert CANARY not in raised.value.detail
    assert json.loads(write("json", items)) == {"a.b": CANARY, "A_B": CANARY}
    for form in ("sh", "dotenv", "json", "yaml"):
        with pytest.raises(InvalidInput, match="secret a and the config a"):
            write(form, items_of({"a": "1"}, "secret") + items_of({"a": "2"}))


def test_a_text_that_ends_with_a_backslash_stands_where_older_readers_take_it() -> None:
    content = write("dotenv", items_of({"a": "two\nlines\\", "b": "plain\\", "c": "it's"}))

    assert content == 'B=plain\\\nC="it\'s"\nA="two\\nlines\\\\"\n'
    assert by_python_dotenv(content) == {"A": "two\nlines\\", "B": "plain\\", "C": "it's"}


def test_an_item_does_not_show_its_value() -> None:
    assert CANARY not in repr(items_of({"a": CANARY}))
    assert CANARY not in repr(Document({"a": CANARY}, {"b": CANARY}))


# ---- dotenv is read as python-dotenv reads it


DOTENV_FILES = [
    "A=1\nB = 2 \n  C=3\n",
    "\ufeffA=1\n",
    "A=1\r\nB=2\r\n# comment\r\n\r\nC=3",
    "A=1\rB=2",
    "export A=1\nexport\tB=2\nexport C='3'\n",
    "# only a comment",
    "A=a b # comment\nB=a#b\nC= # c\nD=\nE='' # empty\n",
    "A='single $X \\n \\' \\\\ end'\n",
    'A="double $X \\n\\t\\" \\\\ \\q end"\n',
    "A='two\nlines'\nB=\"three\n\n\nlines\" # comment\nC=3\n",
    "A=it's\nB=a\"b\nC=$(id) `id` ${HOME}\n",
    "A='é😀'\nB=é😀\n",
    "A==b\nB=a=b\n",
    "A='#'\nB=\"#\"\nC=#x\n",
]


@pytest.mark.parametrize("content", DOTENV_FILES)
def test_dotenv_is_read_as_python_dotenv_reads_it(content: str) -> None:
    assert read("dotenv", content).configs == by_python_dotenv(content.removeprefix("\ufeff"))


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.filter_too_much])
@given(lines=st.lists(st.text(st.sampled_from("ab='\"\\n# \t$"), max_size=12), max_size=4))
def test_whatever_we_read_python_dotenv_reads_alike(lines: list[str]) -> None:
    content = "".join(f"K{number}={line}\n" for number, line in enumerate(lines))
    try:
        found = read("dotenv", content).configs
    except InvalidInput:
        return

    assert found == by_python_dotenv(content)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (f"A=1\n{CANARY}\n", 2),
        (f"A=1\n\n# c\nB='{CANARY}\n", 4),
        (f"A='two\nlines'\nB='a' {CANARY}\n", 3),
        (f"A=1\r\n1{CANARY}=x\r\n", 2),
        (f"A=1\nA={CANARY}\n", 2),
        (f"={CANARY}\n", 1),
        (f"export {CANARY}", 1),
    ],
)
def test_a_wrong_dotenv_is_refused_by_line(content: str, line: int) -> None:
    refused = refusal("dotenv", content)

    assert f"Line {line}:" in refused.detail
    assert CANARY not in str(refused.members)


# ---- JSON and YAML


def test_types_come_from_what_was_parsed() -> None:
    expected = {"a": "text", "b": 1, "c": 1.5, "d": True, "e": None, "f": [1, {"g": "h"}]}
    in_yaml = "a: text\nb: 1\nc: 1.5\nd: true\ne:\nf:\n- 1\n- g: h\n"

    assert same(dict(read("json", json.dumps(expected)).configs), expected)
    assert same(dict(read("yaml", in_yaml).configs), expected)
    assert read("yaml", "") == read("json", "{}") == read("dotenv", "") == Document({}, {})


def test_yaml_1_1_is_not_read_as_such() -> None:
    content = "a: yes\nb: 0777\nc: 0o17\nd: 2026-01-31\ne: 1_000\nf: 12:30\ng: 0x1F\nh: 1e3\ni: Off\ny: ~\n"

    found = dict(read("yaml", content).configs)

    assert same(
        found,
        {"a": "yes", "b": 777, "c": 15, "d": "2026-01-31", "e": "1_000", "f": "12:30", "g": 31, "h": 1000.0}
        | {"i": "Off", "y": None},
    )
    assert read("yaml", "%YAML 1.2\n---\na: 1\n...\n").configs == {"a": 1}
    assert read("yaml", 'a: "\\ud83d\\ude00"\n').configs == {"a": "😀"}
    assert read("yaml", "a: x\u2028y").configs == {"a": "x\u2028y"}


def test_aliases_are_read_within_bounds() -> None:
    assert read("yaml", "a: &x [1, 2]\nb: *x\n").configs == {"a": [1, 2], "b": [1, 2]}
    laughs = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
    )

    assert "nodes" in refusal("yaml", laughs).detail
    assert "names nothing" in refusal("yaml", "a: &x [*x]").detail
    assert "names nothing" in refusal("yaml", "a: *x").detail


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (f"a: {CANARY}\nb: [{CANARY}\n", 3),
        (f"a: 1\nb: !!python/object:os.system {CANARY}\n", 2),
        (f"a: 1\n? !!str b\n: {CANARY}\n", 2),
        (f"a: 1\na: {CANARY}\n", 2),
        (f"a:\n  {CANARY}: 1\n  {CANARY}{'é'}: 1\n  {CANARY}{'é'}: 1\n", 4),
        (f"a: 1\n--- {CANARY}\nb: 1\n", 2),
        (f"%YAML 1.1\n---\na: {CANARY}\n", 2),
        (f"x: &x {{a: {CANARY}}}\nb:\n  <<: *x\n", 3),
        ("a: .inf", 1),
        ("a:\n- 1e999", 2),
        (f"a: {'9' * 5_000}", 1),
        ("[a]: b", 1),
        ("a: \x01", 1),
        ("a: b\nc: x\x85y", 2),
        ('a: "\\ud800"', 1),
        (f'a: "{CANARY}', 1),
        (f"a: \t{CANARY}: b: c", 1),
    ],
)
def test_a_wrong_yaml_is_refused_by_line(content: str, line: int) -> None:
    refused = refusal("yaml", content)

    assert f"Line {line}:" in refused.detail
    assert CANARY not in str(refused.members)


@pytest.mark.parametrize(
    "content",
    [
        *("[" * 200_000, "[a," * 100_000, "{a: " * 100_000, "- " * 100_000, "? " * 100_000, "&a " * 100_000),
        *(
            "a: [" + "x," * 200_000 + "]",
            "- a\n" * 200_000,
            "- a: b\n  c:\n" * 60_000,
            "a: " + "x: " * 100_000,
        ),
        *(
            'a: "' + "x\n" * 100_000,
            "\n \n" * 200_000,
            "# a\n" * 200_000,
            "!!str " * 100_000,
            "a\n" * 200_000,
        ),
        *(
            'a: "\\U99999999"',
            "a: " + "*" * 200_000,
            "a: &" + "x" * 200_000,
            "'" * 200_001,
            " " * 500_000 + "a",
        ),
    ],
    ids=lambda content: ascii(content[:6]),
)
@pytest.mark.parametrize("form", ["yaml", "json", "dotenv"])
def test_no_file_takes_long(form: str, content: str) -> None:
    began = process_time()

    try:
        read(form, content)
    except InvalidInput as refused:
        assert len(refused.detail) < 500

    assert process_time() - began < 10


@pytest.mark.parametrize(
    "content",
    [
        f'{{"a": "{CANARY}"',
        f'{{"a": "b",\n"{CANARY} ": 1, "{CANARY} ": 2}}',
        f'"{CANARY}"',
        f"[{CANARY}]",
        f'{{"a": "\\ud800 {CANARY}"}}',
        f'{{"{CANARY} ": "\\ud800"}}',
        '{"a": NaN}',
        '{"a": 1e999}',
    ],
)
def test_a_wrong_json_is_refused_without_what_it_holds(content: str) -> None:
    assert CANARY not in str(refusal("json", content).members)


# ---- the shape of a file


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_a_file_may_name_both_kinds(form: str) -> None:
    def found(document: dict[str, Any], **options: Any) -> Document:
        return read(form, json.dumps(document), **options)

    assert found({"secrets": {"a": "1"}, "configs": {"b": 2}}) == Document({"a": "1"}, {"b": 2})
    assert found({"secrets": {"a": "1"}}) == Document({"a": "1"}, {})
    assert found({"secrets": "x", "configs": [1]}) == Document({}, {"secrets": "x", "configs": [1]})
    assert found({"a": "1"}, secrets=True) == Document({"a": "1"}, {})
    # What looks like both is neither: a secret would be stored in plain text.
    for document in ({"secrets": {"a": CANARY}, "b": 1}, {"secrets": {"a": CANARY}, "configs": 1}):
        assert CANARY not in str(refusal(form, json.dumps(document)).members)
    assert "secrets" in refusal(form, '{"secrets": {"a": "1"}}', secrets=True).errors
    for value in (1, None, True, [CANARY], {"b": CANARY}):
        refused = refusal(form, json.dumps({"secrets": {"a": value}}))
        assert list(refused.errors) == ["secrets.a"]
        assert CANARY not in str(refused.members)


def test_every_name_that_is_no_key_is_refused_by_its_number() -> None:
    refused = refusal("json", json.dumps({"good": 1, f"{CANARY} ": 1, "": 1, "a/b": 1}))

    assert list(refused.errors) == ["configs.2", "configs.3", "configs.4"]
    assert CANARY not in str(refused.members)


def test_a_file_has_limits() -> None:
    assert len(read("dotenv", "".join(f"A{n}=1\n" for n in range(2_000))).configs) == 2_000
    assert "2000" in refusal("dotenv", "".join(f"A{n}=1\n" for n in range(2_001))).detail
    assert "1048576" in refusal("dotenv", f"A={'é' * 524_288}").detail
    assert "format" in refusal("sh", "A=1").errors
