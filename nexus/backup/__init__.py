"""One file that holds a tenant or everything: made, checked whole, restored, rehearsed.

`tables` says what goes into an archive, `columns` how a value is written, `container` how the file is
sealed and signed, `locks` what opens it. `making` writes one, `checking` reads it without touching
the database, `restoring` fills an empty database, `merging` brings a tenant into a living one, and
`rehearsal` proves in a scratch database that a restore would work (docs/decisions/0011).
"""
