"""`set_config SERVICE KEY [--type T] [--final]`"""

from argparse import ArgumentParser
from typing import Any

from apps.core.actor import Actor
from apps.core.commands import NexusCommand, add_value_arguments, value_from
from apps.core.errors import InvalidInput
from apps.services.addresses import service_at
from apps.services.commands import add_entry_arguments
from apps.vault import operations
from apps.vault.models import ConfigType, ConfigVersion
from apps.vault.values import parse_config_text


class Command(NexusCommand):
    help = "Append a version to a config; the value comes from --value, --file or standard input."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_entry_arguments(parser, ConfigType.values)
        add_value_arguments(parser)

    def operate(self, actor: Actor, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
        service, key = service_at(options["service"]), options["key"]
        present = (
            ConfigVersion.objects.filter(config__service=service, config__key=key)
            .order_by("-version")
            .first()
        )
        config_type = options["type"] or (present.type if present else ConfigType.STRING)
        try:
            text = value_from(options).decode("utf-8")
        except UnicodeDecodeError:
            raise InvalidInput.of("value", "The value is not UTF-8.") from None
        written = operations.set_config(
            actor=actor,
            service=service,
            key=key,
            value=parse_config_text(config_type, text),
            type=config_type,
            is_final=options["final"],
        )
        return {
            "key": key,
            "version": written.version,
        }, f"Config {key} of {service} is at version {written.version}."
