"""Production. It refuses to start insecure, naming each setting that is in the way."""

from nexus.settings.common import *  # noqa: F403
from nexus.settings.refusals import refuse

NEXUS_ENV = "production"

refuse(globals())
