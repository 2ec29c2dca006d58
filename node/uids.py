"""What is a UID."""

from __future__ import annotations

import re

#: of digits and dots and no longer than PS3.5 9.1 allows: components that begin with a zero are taken as they come, and
#: nothing that PostgreSQL, a path or a page would mind
UID_PATTERN = re.compile(r"[0-9.]{1,64}")
