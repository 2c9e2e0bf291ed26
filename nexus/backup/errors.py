"""What can be wrong with an archive, or with where it should go."""

from apps.core.errors import Conflict, NexusError


class ArchiveIsDamaged(NexusError):
    """Something in the file is not as it was written: a byte, a frame, a count, a row."""

    code, status = "archive_damaged", 422
    default_detail = "The archive is not what was written. Take another copy of it."


class ArchiveIsForeign(NexusError):
    """Another installation signed it, and no root key of ours vouches for it."""

    code, status = "archive_foreign", 403
    default_detail = (
        "Another installation signed this archive. If you know where it comes from, give --trust-foreign."
    )


class ArchiveIsLocked(NexusError):
    """The passphrase or root key that opens it is not here."""

    code, status = "archive_locked", 403
    default_detail = "The passphrase does not open the archive. Put the right one into the file."


class ArchiveIsOfAnotherRelease(Conflict):
    """Its tables are not those of this release."""

    code = "archive_of_another_release"


class ArchiveIsTooOld(Conflict):
    """The living tenant no longer knows all that was removed since the archive was made."""

    code = "archive_too_old"


class DatabaseIsNotEmpty(Conflict):
    """A full archive replaces nothing: it goes into a database that only `migrate` has touched."""

    code = "database_not_empty"


class ArchiveIsInTheWay(Conflict):
    """What the tenant archive brings belongs to something else here."""

    code = "archive_conflict"
