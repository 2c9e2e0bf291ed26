"""`verify_audit [TENANT[/PROJECT]] [--sign-now]`"""

from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.db.models import QuerySet

from apps.audit.models import AuditChain
from apps.audit.verification import sign_heads, verify
from apps.core.actor import Actor
from apps.core.commands import VERIFICATION_FAILED, NexusCommand
from apps.projects.addresses import project_at, tenant_at


class Command(NexusCommand):
    help = "Check every link, number and MAC of the audit log."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("scope", nargs="?", default="", metavar="TENANT[/PROJECT]")
        parser.add_argument("--sign-now", action="store_true", help="sign all heads first")

    def operate(self, actor: Actor, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
        if options["sign_now"]:
            self.note(f"{sign_heads(AuditChain.objects.all())} heads signed.")
        found = verify(_chains(options["scope"]))
        result = {
            "checked": found.checked,
            "first_bad": asdict(found.first_bad) if found.first_bad else None,
            "truncation": found.truncation,
        }
        if found.first_bad:
            bad = found.first_bad
            return result, f"Number {bad.number} of {bad.chain} is bad: {bad.reason}."
        return result, f"{found.checked} events hold; truncation: {found.truncation}."

    def exit_code(self, result: dict[str, Any]) -> int:
        bad = result["first_bad"] is not None or result["truncation"] == "found"
        return VERIFICATION_FAILED if bad else 0


def _chains(scope: str) -> QuerySet[AuditChain]:
    if not scope:
        return AuditChain.objects.all()
    if "/" in scope:
        return AuditChain.objects.filter(project_id=project_at(scope).pk)
    return AuditChain.objects.filter(tenant_id=tenant_at(scope).pk)
