"""What a serving process makes sure of before its first answer."""

import sys

from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError

from apps.core import keys, triggers
from apps.core.errors import NexusError
from apps.core.models import Installation


def require_ready_to_serve() -> None:
    """Make what must exist, and end the process naming what is in the way.

    At first contact with the database every root key id in use is tested (SPEC 5). A database
    that is away is no reason to end: delivery waits for it and says so at `/readyz`.
    """
    try:
        keys.require_all_root_keys()
        keys.create_missing_server_keys()
        Installation.current()
        gone = triggers.missing()
    except (NexusError, ImproperlyConfigured) as error:
        sys.exit(f"Nexus does not start: {error}")
    except DatabaseError as error:
        sys.exit(
            f"Nexus does not start: the database does not answer as expected ({type(error).__name__}). "
            "Is it running, and has `manage.py migrate` been run?"
        )
    if gone:
        sys.exit(f"Nexus does not start: triggers are missing ({', '.join(gone)}). Run `manage.py migrate`.")
