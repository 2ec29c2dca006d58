"""What every forked process has before it is forked; the tables of the first report take a second of their own."""

from __future__ import annotations

from highdicom.base import get_sop_class_iod_map
from pydicom.sr.codedict import codes

import node.roles
import tests.threshold_host

__all__ = ["READY"]

READY = (node.roles, tests.threshold_host, get_sop_class_iod_map(), codes.SCT.Lung)
