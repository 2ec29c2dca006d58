"""Every table, with the sentence that each constraint guarantees.

Times are seconds since 1970 on the database's clock. "Model" means a neural network, never a table.
"""

from .accounts import account, session, sign_in_delay
from .alarms import alarm_message, duty, incident, process, tally
from .audit import audit_keeper, audit_message, audit_trail
from .base import metadata
from .by_hand import asked_export, asked_network, destination, sent_by_hand
from .configuration import config_version
from .intake import caller, instance, patient, refusal, series, series_fact, study
from .learning import (
    data_set,
    data_set_member,
    evaluation,
    event,
    label,
    patient_trait,
    shadow,
    suspicion,
    training_run,
)
from .outcome import commitment, delivery, measurement, outage, result, verdict
from .pulled import lacking_study, prior_fetch, reconciliation
from .upkeep import doomed_file
from .watch import appearance, drift_look, inspection, review, trial
from .work import (
    attempt,
    dispatch,
    input_member,
    input_set,
    input_upstream,
    job,
    model_version,
    network_off,
    node_identity,
    pause,
    release,
    route_decision,
    source_turn,
)

__all__ = [
    "account",
    "alarm_message",
    "appearance",
    "asked_export",
    "asked_network",
    "attempt",
    "audit_keeper",
    "audit_message",
    "audit_trail",
    "caller",
    "commitment",
    "config_version",
    "data_set",
    "data_set_member",
    "delivery",
    "destination",
    "dispatch",
    "doomed_file",
    "drift_look",
    "duty",
    "evaluation",
    "event",
    "incident",
    "input_member",
    "input_set",
    "input_upstream",
    "inspection",
    "instance",
    "job",
    "label",
    "lacking_study",
    "measurement",
    "metadata",
    "model_version",
    "network_off",
    "node_identity",
    "outage",
    "patient",
    "patient_trait",
    "pause",
    "prior_fetch",
    "process",
    "reconciliation",
    "refusal",
    "release",
    "result",
    "review",
    "route_decision",
    "sent_by_hand",
    "series",
    "series_fact",
    "session",
    "shadow",
    "sign_in_delay",
    "source_turn",
    "study",
    "suspicion",
    "tally",
    "training_run",
    "trial",
    "verdict",
]
