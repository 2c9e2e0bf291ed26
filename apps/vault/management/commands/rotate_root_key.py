"""`rotate_root_key`"""

from dataclasses import asdict
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from apps.core.actor import Actor
from apps.core.commands import VERIFICATION_FAILED, NexusCommand
from apps.core.errors import Conflict
from apps.core.progress import Progress
from apps.vault.key_rotation import count_under_other_root_keys, rotate_root_key


class Command(NexusCommand):
    help = "Wrap all keys anew by the first root key of NEXUS_ROOT_KEY."

    def operate(self, actor: Actor, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
        try:
            progress = Progress(self.stderr, count_under_other_root_keys(), "keys")
            found = rotate_root_key(actor=actor, progress=progress)
        except ImproperlyConfigured as error:
            raise Conflict(str(error)) from None
        progress.end()
        sentence = f"{found.rewrapped} keys are wrapped anew; {found.left} are under another root key."
        if found.left:
            sentence += " They do not open: `manage.py verify_vault` names them."
        return asdict(found), sentence

    def exit_code(self, result: dict[str, Any]) -> int:
        return VERIFICATION_FAILED if result["left"] else 0
