"""Whom what is written here is open to, as modes of files and folders.

A store, a report and a log hold what was in somebody's data. The umask says what the group may do
with them, and nothing opens them to all accounts of the machine.
"""

CLOSED_FILE = 0o660
CLOSED_FOLDER = 0o770
