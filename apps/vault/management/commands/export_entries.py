"""`export_entries SERVICE --format F [FILE] [--reveal]`"""

import os
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

from apps.core.actor import Actor
from apps.core.errors import InvalidInput
from apps.services.addresses import service_at
from apps.vault.commands import FileCommand
from apps.vault.formats import EXPORT_FORMATS
from apps.vault.transfer import export_entries


class Command(FileCommand):
    formats = EXPORT_FORMATS
    help = "Print what is in effect for a service as one flat file, or write it to FILE."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--reveal", action="store_true", help="secrets too, and what templates result in")

    def operate(self, actor: Actor, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
        service = service_at(options["service"])

        def export() -> str:
            return export_entries(
                actor=actor, service=service, form=options["format"], reveal=options["reveal"]
            )

        if options["file"] is None:
            content = export()
            return {"content": content}, content
        content = _written(options["file"], export)
        return {"content": content}, f"{service} is exported to {options['file']}."


def _written(file: Path, export: Callable[[], str]) -> str:
    """Write what `export` gives to `file`, for its owner alone, as a whole or not at all."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        # Opened first: nothing leaves, and no event tells that it did, where it cannot be written.
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InvalidInput.of("file", f"It cannot be written: {error.strerror}.") from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as opened:
            content = export()
            opened.write(content)
        draft.replace(file)
    except OSError as error:
        raise InvalidInput.of("file", f"It cannot be written: {error.strerror}.") from None
    finally:
        draft.unlink(missing_ok=True)
    return content
