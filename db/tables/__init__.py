"""Every table, with the sentence that each constraint guarantees.

Times are seconds since 1970 on the database's clock. "Model" means a neural network, never a table.
"""

from .accounts import account, session, sign_in_delay
from .base import metadata
from .by_hand import asked_network, destination, sent_by_hand
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
    "asked_network",
    "attempt",
    "caller",
    "commitment",
    "data_set",
    "data_set_member",
    "delivery",
    "destination",
    "dispatch",
    "evaluation",
    "event",
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
    "refusal",
    "release",
    "result",
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
    "training_run",
    "verdict",
]
