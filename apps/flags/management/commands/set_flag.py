"""`set_flag SERVICE KEY --on / --off / --definition FILE.json [--starts-at T --ends-at T]`"""

from argparse import ArgumentParser
from datetime import datetime
from pathlib import Path
from typing import Any

from django.db import transaction

from apps.core import strict_json
from apps.core.actor import Actor
from apps.core.commands import NexusCommand, parse_time
from apps.core.errors import InvalidInput
from apps.flags import operations
from apps.flags.models import Flag
from apps.services.addresses import service_at
from apps.services.commands import add_entry_arguments
from apps.services.models import Service


class Command(NexusCommand):
    help = "Switch a flag, schedule it, or write its whole definition."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_entry_arguments(parser)
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--on", action="store_true")
        what.add_argument("--off", action="store_true")
        what.add_argument("--definition", type=Path, metavar="FILE.json")
        parser.add_argument("--starts-at", type=parse_time, metavar="TIME")
        parser.add_argument("--ends-at", type=parse_time, metavar="TIME")

    @transaction.atomic
    def operate(self, actor: Actor, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
        service, key = service_at(options["service"]), options["key"]
        schedule = {name: options[name] for name in ("starts_at", "ends_at") if options[name] is not None}
        if options["definition"]:
            flag = self._define(actor, service, key, options, schedule)
        else:
            flag = operations.set_flag_state(
                actor=actor,
                service=service,
                key=key,
                enabled=options["on"],
                is_final=options["final"],
                **schedule,
            )
        return {
            "key": key,
            "enabled": flag.enabled,
        }, f"Flag {key} of {service} is {'on' if flag.enabled else 'off'}."

    def _define(
        self, actor: Actor, service: Service, key: str, options: dict[str, Any], schedule: dict[str, datetime]
    ) -> Flag:
        try:
            document = strict_json.loads(options["definition"].read_bytes())
        except OSError as error:
            raise InvalidInput.of("definition", f"It cannot be read: {error.strerror}.") from None
        if isinstance(document, dict):
            document.update({name: bound.isoformat() for name, bound in schedule.items()})
        return operations.set_flag(
            actor=actor, service=service, key=key, definition=document, is_final=options["final"]
        )
