"""What the audit trail tells of, and the coded values for it (PS3.15 A.5.3, PS3.16 CID 400 to 405)."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Code(NamedTuple):
    """A coded value (PS3.15 A.5.1): code, coding scheme, meaning."""

    code: str
    system: str
    meaning: str


def _dcm(code: str, meaning: str) -> Code:
    return Code(code, "DCM", meaning)


class What(StrEnum):
    """Kinds of messages, as the spool calls them."""

    STARTED = "started"
    STOPPED = "stopped"
    ATTACHED = "attached"
    DETACHED = "detached"
    TRANSFER_IN = "transfer-in"
    SENDING = "sending"
    TRANSFER_OUT = "transfer-out"
    SHOWN = "shown"
    DELETED = "deleted"
    IMPORTED = "imported"
    EXPORTED = "exported"
    QUERY = "query"
    TURNED_AWAY = "turned-away"
    TRAIL_STARTED = "trail-started"
    RECORD = "record"
    TEST = "test"


APPLICATION_ACTIVITY = _dcm("110100", "Application Activity")
BEGIN_TRANSFERRING = _dcm("110102", "Begin Transferring DICOM Instances")
ACCESSED = _dcm("110103", "DICOM Instances Accessed")
TRANSFERRED = _dcm("110104", "DICOM Instances Transferred")
STUDY_DELETED = _dcm("110105", "DICOM Study Deleted")
EXPORT = _dcm("110106", "Export")
IMPORT = _dcm("110107", "Import")
NETWORK_ENTRY = _dcm("110108", "Network Entry")
QUERY = _dcm("110112", "Query")
SECURITY_ALERT = _dcm("110113", "Security Alert")
USER_AUTHENTICATION = _dcm("110114", "User Authentication")

APPLICATION_START = _dcm("110120", "Application Start")
APPLICATION_STOP = _dcm("110121", "Application Stop")
LOGIN = _dcm("110122", "Login")
LOGOUT = _dcm("110123", "Logout")
ATTACH = _dcm("110124", "Attach")
DETACH = _dcm("110125", "Detach")
NODE_AUTHENTICATION = _dcm("110126", "Node Authentication")
NETWORK_CONFIGURATION = _dcm("110128", "Network Configuration")
SOFTWARE_CONFIGURATION = _dcm("110131", "Software Configuration")
RESTRICTED_FUNCTION = _dcm("110132", "Use of Restricted Function")
RECORDING_STARTED = _dcm("110134", "Audit Recording Started")
ROLES_CHANGED = _dcm("110136", "Security Roles Changed")
ACCOUNT_CHANGED = _dcm("110137", "User security Attributes Changed")

APPLICATION = _dcm("110150", "Application")
LAUNCHER = _dcm("110151", "Application Launcher")
DESTINATION = _dcm("110152", "Destination Role ID")
SOURCE = _dcm("110153", "Source Role ID")
DESTINATION_MEDIA = _dcm("110154", "Destination Media")
SOURCE_MEDIA = _dcm("110155", "Source Media")

STUDY_UID = _dcm("110180", "Study Instance UID")
SOP_CLASS_UID = _dcm("110181", "SOP Class UID")
NODE_ID = _dcm("110182", "Node ID")
PATIENT_NUMBER = Code("2", "RFC-3881", "Patient Number")

#: PS3.17 WW.3 has it for files
MEDIUM = _dcm("110037", "URI")

#: PS3.15 A.5.1, EventOutcomeIndicator
SUCCESS, MINOR_FAILURE = "0", "4"

#: events of the record, by the first words of what they are called, that the collector is told of as alerts
OF_RECORD = {
    "account-role": ROLES_CHANGED,
    "account-": ACCOUNT_CHANGED,
    "patients-shown": RESTRICTED_FUNCTION,
    "patient-erased": RESTRICTED_FUNCTION,
    "backup": RESTRICTED_FUNCTION,
    "configuration ": NETWORK_CONFIGURATION,
    "network ": SOFTWARE_CONFIGURATION,
    "promoted": SOFTWARE_CONFIGURATION,
    "rolled back": SOFTWARE_CONFIGURATION,
}
#: and as authentications: whether somebody came, and how it ended
SIGNING = {
    "sign-in": (LOGIN, SUCCESS),
    "sign-in-failed": (LOGIN, MINOR_FAILURE),
    "sign-out": (LOGOUT, SUCCESS),
}


def of_record(what: str) -> Code | None:
    """The type of the alert for an event of the record; None: it is no alert."""
    return next((code for begins, code in OF_RECORD.items() if what.startswith(begins)), None)


def told(what: str) -> bool:
    """Whether the collector is told of an event of the record."""
    return what in SIGNING or of_record(what) is not None
