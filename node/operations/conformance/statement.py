"""The whole statement: statement.md beside this, filled in; docs/conformance.md is what comes out (a test compares)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from string import Template

from pydicom.datadict import dictionary_description
from pynetdicom import AE, PYNETDICOM_IMPLEMENTATION_UID, PYNETDICOM_IMPLEMENTATION_VERSION

from ... import __version__
from ...inbound import syntaxes
from ...objects import characters
from ...objects.rejection import Title
from ...objects.reports.codes import SCHEME, scheme_identified
from ...objects.written import name_of
from ...outbound.statuses import KNOWN, Answer, meaning
from ...pull.query import MATCHED, SERIES_KEYS, STUDY_KEYS
from ...tls.profile import SUITES, Profile
from . import contents, contexts
from .tables import rows, table

TEXT = Path(__file__).with_name("statement.md")
#: what a site configures that concerns its peers
KEYS = {
    "node.ae_title": "our AE title, calling and called",
    "node.uid_root": "root of the UIDs of what is written; none: UUID-derived under 2.25",
    "receive.port": "TCP port",
    "receive.listen": "address; none: this machine while no peer may call, else all addresses",
    "receive.associations": "associations at a time",
    "receive.idle_seconds": "an association without traffic is aborted",
    "receive.max_pdu_bytes": "maximum PDU length offered",
    "receive.connections_per_address": "connections of one address at a time",
    "receive.waiting_connections": "connections at a time that have no association yet",
    "receive.object_gb": "larger objects are refused",
    "receive.loop": "our own receive loop, or pynetdicom's",
    "receive.refuse_gb": "below this much free disk space callers who would send are rejected; 0: twice reserve_gb",
    "receive.reserve_gb": "below this much free disk space C-STORE is answered 0xA700",
    "receive.require_called_ae": "who calls another AE title than ours is rejected",
    "receive.quiet_seconds": "after the last image a study is complete",
    "tls.certificate": "certificate and key (`tls.key`): it listens for TLS",
    "tls.port": "TCP port for TLS",
    "tls.plain": "the other port is open too",
    "tls.profile": "secure transport connection profile",
    "tls.ca_file": "authorities of callers' certificates, and of peers'",
    "tls.crl_file": "what they have revoked",
    "tls.require_client_certificate": "a caller without a certificate gets no connection",
    "tls.client_certificate": "what peers are shown; none: `tls.certificate`",
    "tls.handshake_seconds": "for a handshake",
    "send.timeout_seconds": "for an answer",
    "send.attempts": "of an object that is refused for now",
    "send.unreachable_retry_seconds": "until a destination that is away is tried again",
    "peer.name": "of a `[[peer]]`, in routes and in `status`",
    "peer.ae_title": "its AE title",
    "peer.address": "the address or network that it calls from",
    "peer.may_send": "it may store",
    "peer.may_send_labels": "its SEG and RTSTRUCT count as corrections",
    "peer.called_ae": "the AE title that it has to call",
    "peer.tls_only": "it is let in over TLS alone",
    "peer.certificate_sha256": "and with one of these certificates",
    "peer.certificate_names": "or one with one of these names",
    "peer.associations": "of it at a time; 0: no limit of its own",
    "peer.instances_per_hour": "instances that it may store in an hour; 0: any",
    "peer.gb_per_hour": "and GB",
    "peer.destination.host": "where results are sent by C-STORE",
    "peer.destination.port": "its port",
    "peer.destination.tls": "over TLS",
    "peer.destination.tls_name": "the name in its certificate; none: host",
    "peer.destination.certificate_sha256": "or that very certificate",
    "peer.destination.url": "or by STOW-RS",
    "peer.destination.objects": "what it gets",
    "peer.destination.label_map": "label maps instead of binary segmentations",
    "peer.destination.commitment": "it is asked for storage commitment, and may report",
    "peer.destination.rejection_notes": "it gets rejection notes on replaced results",
    "peer.destination.refusals": "it is told what was not processed",
    "peer.query.host": "where studies are asked for by C-FIND",
    "peer.query.port": "its port",
    "peer.query.tls": "over TLS, as a destination",
    "peer.query.url": "or by QIDO-RS",
    "peer.query.retrieve": "how they come: C-MOVE to us, C-GET, or WADO-RS",
    "peer.query.counts": "it is asked how many images an arriving study has",
    "peer.query.complete_minutes": "so long a study waits for what it has",
    "fetch.window": "hours in which days are fetched",
    "fetch.timeout_seconds": "for an answer",
    "fetch.silent_seconds": "without a sign of life of a retrieval",
    "fetch.study_minutes": "for one study",
    "fetch.most_matches": "answers to a query; then it is cancelled",
    "fetch.most_images": "objects of one study",
}
DONE = {
    Answer.DELIVERED: "delivered",
    Answer.LATER: "sent again as long as it takes",
    Answer.RETRY: "sent again later, so many times",
    Answer.DEAD: "a dead letter",
}
#: where a status stands for a range
RANGES = {0xA701: "0xA7xx", 0xA900: "0xA9xx", 0xB001: "0xBxxx", 0xC000: "0xCxxx"}
WHEN = {Title.REPLACED: "newer results take the place of what was sent", Title.WITHDRAWN: "`planimeter withdraw`"}


def statement(defaults: Mapping[str, object]) -> str:
    """The statement as Markdown.

    Args:
        defaults: of the configuration's keys, those in `KEYS` among them.
    """
    return Template(TEXT.read_text(encoding="utf-8")).substitute(
        {key.replace(".", "_"): _shown(defaults[key]) for key in KEYS},
        version=__version__,
        implementation_uid=PYNETDICOM_IMPLEMENTATION_UID,
        implementation_version=PYNETDICOM_IMPLEMENTATION_VERSION,
        sent_pdu_bytes=AE().maximum_pdu_size,
        overview=_overview(),
        other_classes=contexts.other_classes(),
        storage_syntaxes=contexts.storage_syntaxes(),
        storage_classes=contexts.storage_classes(),
        sent=contexts.offers(contexts.sent()),
        asked=contexts.offers(contexts.asked()),
        study_matched=_names(MATCHED),
        study_keys=_names(STUDY_KEYS),
        series_keys=_names(SERIES_KEYS),
        store_statuses=_store_statuses(),
        configuration=table(["key", "default", ""], [(f"`{key}`", _shown(defaults[key]), KEYS[key]) for key in KEYS]),
        single_sets=_sets(),
        whole_sets=", ".join(characters.ALONE),
        written_set=characters.UTF8,
        contents="\n\n".join(contents.sections()),
        suites=_suites(),
        scheme=SCHEME,
        scheme_uid=scheme_identified().CodingSchemeUID,
        private_codes=contents.private_codes(),
        rejections=table(["document title", "meaning", "sent when"], [_title(one) for one in Title]),
    )


def _overview() -> str:
    used = dict.fromkeys(name_of(one.sop_class) for one in (*contexts.sent(), *contexts.asked()))
    # reports on storage commitment are taken on associations of others, but by the SCU of that service
    provided = [name_of(uid) for uid in syntaxes.uids(syntaxes.verification())]
    lines = [(name, "yes", "yes" if name in provided else "") for name in used]
    storage = ("every storage SOP class in the list of the RECEIVER", "", "yes")
    web = [(f"DICOMweb {one}", "yes", "") for one in ("STOW-RS", "QIDO-RS", "WADO-RS")]
    return table(["service", "user (SCU)", "provider (SCP)"], [*lines, storage, *web])


def _store_statuses() -> str:
    single = [(f"0x{status:04X}", status) for status in sorted(KNOWN)]
    ranges = [(name, status) for status, name in RANGES.items()]
    return rows((name, DONE[meaning(status)[0]], _meant(status)) for name, status in [*single, *ranges])


def _meant(status: int) -> str:
    """The sentence of the status without its number."""
    return meaning(status)[1].removeprefix(f"0x{status:04X} ") or "success"


def _names(keywords: Iterable[str]) -> str:
    return ", ".join(dictionary_description(keyword) for keyword in keywords)


def _suites() -> str:
    modified, more = SUITES[Profile.MODIFIED], set(SUITES[Profile.BCP195]) - set(SUITES[Profile.MODIFIED])
    return f"{', '.join(modified)}; with B.12, as SCU, also {', '.join(sorted(more))}"


def _sets() -> str:
    numbers = sorted({*characters.SINGLE, *characters.UPPER_PAIRS, *characters.LOWER_PAIRS})
    return ", ".join(f"ISO-IR {number}" for number in numbers)


def _title(one: Title) -> tuple[str, str, str]:
    return f"{one.code} DCM", one.value[1], WHEN[one]


def _shown(value: object) -> str:
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
