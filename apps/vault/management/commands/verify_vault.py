"""`verify_vault`"""

from typing import Any

from apps.core.actor import Actor
from apps.core.commands import VERIFICATION_FAILED, NexusCommand
from apps.core.progress import Progress
from apps.vault.verification import count_sealed, verify_vault


class Command(NexusCommand):
    help = "Open everything that is stored sealed, and report what fails."

    def operate(self, actor: Actor, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
        progress = Progress(self.stderr, count_sealed(), "values")
        found = verify_vault(on_value=progress)
        progress.end()
        result = {"opened": found.opened, "failed": found.failed, "unanchored": found.unanchored}
        if found.failed:
            return (
                result,
                f"{len(found.failed)} of {found.opened + len(found.failed)} fail: {', '.join(found.failed)}",
            )
        return result, f"All {found.opened} open; {found.unanchored} have no event to compare with."

    def exit_code(self, result: dict[str, Any]) -> int:
        return VERIFICATION_FAILED if result["failed"] else 0
