"""The commands as SPEC 13 fixes them: arguments, JSON, exit codes."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from apps.core.errors import NexusError
from apps.core.models import Installation
from apps.services.models import Service
from apps.vault.models import SecretVersion

SERVICE = "acme/shop/develop/api"


def run(*arguments: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, the one JSON object on standard output, and standard error."""
    out, err = StringIO(), StringIO()
    code = 0
    try:
        call_command(*arguments, "--json", stdout=out, stderr=err)
    except SystemExit as ended:
        code = int(ended.code or 0)
    return code, json.loads(out.getvalue()), err.getvalue()


def done(*arguments: str) -> dict[str, Any]:
    code, result, _ = run(*arguments)
    assert code == 0, result
    return result


@pytest.fixture
def service(db: None) -> str:
    Installation.current()
    done("create_operator", "carol@example.org")
    done("create_tenant", "acme", "--owner", "carol@example.org")
    done("create_project", "acme/shop", "--tier", "s", "--addon", "ab_testing")
    done("create_service", SERVICE, "--kind", "backend")
    return SERVICE


def test_each_command_prints_exactly_its_members(db: None, tmp_path: Path) -> None:
    Installation.current()
    definition = tmp_path / "flag.json"
    definition.write_text('{"key": "f.b", "type": "boolean", "enabled": true}')

    expected = [
        (("create_operator", "carol@example.org", "--superuser"), {"id", "email", "password"}),
        (("create_operator", "bob@example.org"), {"id", "email", "password"}),
        (("create_tenant", "acme", "--name", "Acme", "--owner", "carol@example.org"), {"id", "slug"}),
        (("create_project", "acme/shop", "--tier", "s", "--addon", "ab_testing"), {"id", "slug", "tier"}),
        (("add_member", "acme/shop", "bob@example.org", "--role", "developer"), {"id", "role"}),
        (
            ("create_service", "acme/shop/develop/top", "--kind", "backend", "--umbrella"),
            {"id", "kind", "environment"},
        ),
        (("create_service", SERVICE, "--kind", "backend", "--parent", "top"), {"id", "kind", "environment"}),
        (
            ("issue_key", SERVICE, "--scope", "read", "--scope", "write", "--allow", "192.0.2.0/24"),
            {"id", "slot", "key"},
        ),
        (("revoke_key", SERVICE, "--slot", "primary"), {"id"}),
        (("disable_service", SERVICE), {"id"}),
        (("disable_service", SERVICE, "--resume"), {"id"}),
        (("set_secret", SERVICE, "a.b", "--value", "canary-value"), {"key", "version"}),
        (("set_secret", "acme/shop/develop/top", "a.f", "--value", "x", "--final"), {"key", "version"}),
        (("set_config", SERVICE, "c.d", "--type", "number", "--value", "42"), {"key", "version"}),
        (("set_flag", SERVICE, "f.a", "--on", "--starts-at", "2026-01-01T00:00:00Z"), {"key", "enabled"}),
        (("set_flag", SERVICE, "f.b", "--definition", str(definition)), {"key", "enabled"}),
        (("delete_secret", SERVICE, "a.b"), {"key", "version"}),
        (("delete_config", SERVICE, "c.d", "--force"), {"key", "version"}),
        (("delete_flag", SERVICE, "f.a"), {"key", "version"}),
        (("remove_member", "acme/shop", "bob@example.org"), {"id"}),
        (("verify_vault",), {"opened", "failed", "unanchored"}),
        (("verify_audit",), {"checked", "first_bad", "truncation"}),
        (("verify_audit", "acme/shop", "--sign-now"), {"checked", "first_bad", "truncation"}),
    ]

    for arguments, members in expected:
        result = done(*arguments)
        assert set(result) == members, arguments
        assert "canary-value" not in json.dumps(result)


def test_a_refusal_is_the_problem_on_standard_output_and_exit_1(service: str) -> None:
    for arguments, code_of_problem in (
        (("create_tenant", "acme", "--owner", "carol@example.org"), "already_exists"),
        (("create_tenant", "other", "--owner", "nobody@example.org"), "not_found"),
        (("create_service", "acme/shop/qa/api", "--kind", "backend"), "tier_forbids"),
        (("add_member", "acme/shop", "nobody@example.org", "--role", "viewer"), "not_found"),
        (("issue_key", "acme/shop/develop/none"), "not_found"),
        (("set_config", "acme/shop", "a", "--value", "b"), "invalid_input"),
        (("set_config", service, "a", "--value", "x", "--type", "number"), "malformed_request"),
        (("set_secret", service, "a", "--value", "x", "--final"), "invalid_input"),
        (("delete_secret", service, "none"), "not_found"),
        (("distrust_workload", service, "01a00000-0000-7000-8000-000000000000"), "not_found"),
    ):
        code, problem, _ = run(*arguments)

        assert (code, problem["code"]) == (1, code_of_problem), arguments


def test_a_file_is_taken_byte_for_byte(service: str, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(b"\x00\xff\n")

    done("set_secret", service, "ca.pem", "--type", "file", "--file", str(file))

    version = SecretVersion.objects.get()
    assert (version.type, version.file_name, version.size_bytes) == ("file", "ca.pem", 3)


def test_a_verification_that_fails_exits_with_3(service: str) -> None:
    done("set_secret", service, "a", "--value", "x")
    SecretVersion.objects.update(sealed=b"\x00" * 40)

    code, result, _ = run("verify_vault")

    assert code == 3
    assert result["failed"] == [str(SecretVersion.objects.get().pk)]


def test_one_sentence_for_a_person(service: str) -> None:
    out = StringIO()

    call_command("set_config", service, "a", "--value", "b", stdout=out)

    assert out.getvalue() == f"Config a of {service} is at version 1.\n"
    assert Service.objects.get(slug="api").revision == 2


def test_refusals_carry_no_traceback(service: str) -> None:
    err = StringIO()

    with pytest.raises(SystemExit):
        call_command("set_secret", service, "1", "--value", "canary-value", stderr=err)

    assert "canary-value" not in err.getvalue()
    assert NexusError.__name__ not in err.getvalue()
