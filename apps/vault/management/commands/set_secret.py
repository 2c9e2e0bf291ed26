"""`set_secret SERVICE KEY [--type T] [--final]`"""

from argparse import ArgumentParser
from typing import Any

from apps.core.actor import Actor
from apps.core.commands import NexusCommand, add_value_arguments, value_from
from apps.services.addresses import service_at
from apps.services.commands import add_entry_arguments
from apps.vault import operations
from apps.vault.models import SecretType, SecretVersion


class Command(NexusCommand):
    help = "Append a version to a secret; the value comes from --value, --file or standard input."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_entry_arguments(parser, SecretType.values)
        add_value_arguments(parser)

    def operate(self, actor: Actor, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
        service, key = service_at(options["service"]), options["key"]
        present = (
            SecretVersion.objects.filter(secret__service=service, secret__key=key)
            .order_by("-version")
            .first()
        )
        secret_type = options["type"] or (present.type if present else SecretType.TEXT)
        is_file = secret_type == SecretType.FILE
        written = operations.set_secret(
            actor=actor,
            service=service,
            key=key,
            value=value_from(options),
            type=secret_type,
            file_name=options["file"].name if is_file and options["file"] else "",
            is_final=options["final"],
        )
        return {
            "key": key,
            "version": written.version,
        }, f"Secret {key} of {service} is at version {written.version}."
