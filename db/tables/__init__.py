"""Every table, with the sentence that each constraint guarantees.

Times are seconds since 1970 on the database's clock. "Model" means a neural network, never a table.
"""

from .accounts import account, session, sign_in_delay
from .alarms import alarm_message, incident, process, tally
from .base import metadata
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
    "attempt",
    "caller",
    "commitment",
    "data_set",
    "data_set_member",
    "delivery",
    "dispatch",
    "evaluation",
    "event",
    "incident",
    "input_member",
    "input_set",
    "input_upstream",
    "instance",
    "job",
    "label",
    "measurement",
    "metadata",
    "model_version",
    "network_off",
    "node_identity",
    "outage",
    "patient",
    "patient_trait",
    "pause",
    "process",
    "refusal",
    "release",
    "result",
    "route_decision",
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
    "verdict",
]
