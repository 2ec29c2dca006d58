"""What the settings of a site say of its peers and its routes, as the node applies it."""

from __future__ import annotations

import ipaddress
from datetime import time
from functools import partial

from config import hours
from config.conditions import Condition as ConditionSettings
from config.conditions import Expects
from config.peers import Destination, Peer, Query, Service
from config.routes import Route as RouteSettings
from config.settings import Settings
from db import reviews

from . import machine
from .audit.messages import Us
from .audit.syslog import Collector
from .audit.xml import Source
from .errors import Refused
from .inbound.peers import Doorkeeper, KnownPeer
from .inbound.quotas import Quota
from .networks import Networks
from .operations import conditions
from .operations.alarms.rules import AlarmPolicy, MailServer, Recipient
from .operations.conditions import CALLING_AE_TITLE, Condition
from .operations.expecting import Expectation, ExpectedSeries
from .operations.retention import Policy
from .operations.routes import PRIORITIES, Route
from .operations.watch.looking import Policy as WatchPolicy
from .operations.who_may_read import Readers
from .outbound.target import Target, Web
from .pull.pacs import FetchPolicy, Limits, Pacs
from .tls import accepting
from .tls.accepting import Accepting
from .tls.calling import Calling
from .tls.files import Pair, Trust
from .tls.profile import Profile


def targets_of(settings: Settings) -> dict[str, Target]:
    """The peers that can be sent results."""
    return {peer.name: _target(settings, peer, peer.destination) for peer in settings.peer if peer.destination}


def _target(settings: Settings, peer: Peer, to: Destination) -> Target:
    return Target(
        peer.name,
        peer.ae_title,
        to.host,
        to.port or 0,
        web=_web(settings, to),
        tls=calling_of(settings, to) if to.tls else None,
        objects=frozenset(to.objects),
        stl_segments=to.stl_segments,
        label_map=to.label_map,
        flagged=to.flagged,
        commitment=to.commitment,
        rejection_notes=to.rejection_notes,
        refusals=to.refusals,
    )


def _web(settings: Settings, at: Service) -> Web | None:
    return Web(at.url, at.user, at.password_file, at.token_file, _trust(settings, at)) if at.url else None


def _trust(settings: Settings, at: Service | None) -> Trust:
    """Whose certificates are good: as a peer's own part says, or for all of them."""
    section = settings.tls
    return Trust(section.ca_file, section.crl_file) if at is None or at.ca_file is None else Trust(at.ca_file)


def calling_of(settings: Settings, at: Service | None = None) -> Calling:
    """How peers are called over TLS: one that says so where it answers, or any."""
    section = settings.tls
    return Calling(
        trust=_trust(settings, at),
        pair=Pair(*section.shown) if section.shown else None,
        profile=Profile(section.profile),
        name=at.tls_name if at else "",
        sha256=frozenset(at.certificate_sha256 if at else ()),
    )


def accepting_of(settings: Settings) -> Accepting | None:
    """How callers are taken over TLS; None: they are not."""
    section = settings.tls
    if section.certificate is None or section.key is None:
        return None
    return Accepting(
        pair=Pair(section.certificate, section.key),
        trust=Trust(section.ca_file, section.crl_file),
        require_certificate=section.require_client_certificate,
        profile=Profile(section.profile),
        handshake_seconds=section.handshake_seconds,
    )


def fetching_of(settings: Settings) -> FetchPolicy:
    section = settings.fetch
    limits = Limits(
        timeout_seconds=section.timeout_seconds,
        silent_seconds=section.silent_seconds,
        study_seconds=section.study_minutes * 60,
        most_matches=section.most_matches,
        most_images=section.most_images,
        reserve_bytes=settings.receive.reserve_bytes,
    )
    pacs = {peer.name: _pacs(settings, peer, peer.query) for peer in settings.peer if peer.query}
    return FetchPolicy(
        pacs,
        limits,
        settings.receive.port if settings.tls.plain else settings.tls.port,
        partial(hours.wait_seconds, section.window),
        prior_seconds=section.prior_minutes * 60,
        reconcile_at=time.fromisoformat(section.reconcile) if section.reconcile else None,
        reconcile_days=section.reconcile_days,
        reconcile_fetch=section.reconcile_fetch,
    )


def watching_of(settings: Settings) -> WatchPolicy:
    """How networks are watched."""
    section = settings.watch
    return WatchPolicy(
        reference_persons=section.reference_persons,
        fewest_persons=section.fewest_persons,
        accepted_days=section.accepted_days,
    )


def _pacs(settings: Settings, peer: Peer, asked: Query) -> Pacs:
    tls = calling_of(settings, asked) if asked.tls else None
    target = Target(peer.name, peer.ae_title, asked.host, asked.port or 0, web=_web(settings, asked), tls=tls)
    return Pacs(
        peer.name,
        target,
        asked.way,
        asked.counts,
        asked.complete_minutes * 60,
        peer.may_send_labels,
        priors=asked.priors,
        reconcile=asked.reconcile,
        modalities=asked.modalities,
    )


def retention_of(settings: Settings) -> Policy:
    """What is kept for how long."""
    section = settings.retention
    committing = frozenset(p.name for p in settings.peer if p.destination and p.destination.commitment)
    return Policy(
        **section.model_dump(exclude={"window"}),
        wait_seconds=section.wait_seconds,
        committing=committing,
        refuse_bytes=settings.receive.refuse_bytes,
        reserve_bytes=settings.receive.reserve_bytes,
    )


def alarms_of(settings: Settings) -> AlarmPolicy:
    section, mail = settings.alarms, settings.mail
    ours = (settings.web.certificate, settings.tls.certificate, settings.tls.client_certificate)
    return AlarmPolicy(
        node=settings.node.ae_title,
        destination_seconds=section.destination_minutes * 60,
        deadlines={name: minutes * 60 for name, minutes in section.deadline_minutes.model_dump().items()},
        process_seconds=section.process_seconds,
        refusal_studies=section.refusal_studies,
        reserve_bytes=int(settings.receive.reserve_gb * 1e9),
        disk_bytes=int(section.disk_gb * 1e9),
        certificates=tuple(file for file in ours if file is not None),
        revoked=(settings.tls.crl_file,) if settings.tls.crl_file else (),
        unusable=partial(_unusable, accepting_of(settings)),
        certificate_seconds=section.certificate_days * hours.DAY_SECONDS,
        backup_seconds=section.backup_days * hours.DAY_SECONDS,
        audit_seconds=section.audit_minutes * 60,
        clear_seconds=section.over_minutes * 60,
        reminder_seconds=section.reminder_hours * 3600,
        quiet=partial(hours.left_seconds, section.quiet_hours),
        urgent=frozenset(section.urgent),
        link=section.link,
        mail=MailServer(**mail.model_dump()),
        reviews=reviews.open_reviews,
        recipients=tuple(Recipient(**one.model_dump() | {"kinds": frozenset(one.kinds)}) for one in settings.recipient),
    )


def _unusable(how: Accepting | None) -> str:
    try:
        if how is not None:
            accepting.context(how)
    except Refused as refusal:
        return refusal.sentence
    return ""


def collector_of(settings: Settings) -> Collector | None:
    """Who is told of what happens to patients' data; None: nobody."""
    said = settings.audit.model_dump(exclude={"insecure", "source_id", "site"})
    return Collector(**said) if said["host"] else None


def audited_as(settings: Settings) -> Us:
    """Who tells of it."""
    named = settings.audit.source_id or settings.node.ae_title
    return Us(settings.node.ae_title, machine.name(), Source(named, settings.audit.site))


def readers_of(settings: Settings) -> Readers:
    section = settings.metrics
    return Readers(section.token_file, tuple(ipaddress.ip_network(one) for one in section.allow))


def routes_of(settings: Settings, networks: Networks, targets: dict[str, Target]) -> tuple[Route, ...]:
    """The configured routes; without any, one that offers everything to every network and destination."""
    if not settings.route:
        everything = RouteSettings(name="everything", networks=tuple(networks.names()), destinations=tuple(targets))
        return (_route(everything, settings.receive.quiet_seconds),)
    return tuple(_route(route, settings.receive.quiet_seconds) for route in settings.route)


def _route(route: RouteSettings, quiet_seconds: float) -> Route:
    objects = route.objects or {}
    return Route(
        name=route.name,
        when=tuple(map(_condition, route.when)),
        unless=tuple(map(_condition, route.unless)),
        networks=route.networks,
        destinations=route.destinations,
        priority=PRIORITIES[route.priority],
        live=route.mode == "live",
        objects=objects if isinstance(objects, dict) else dict.fromkeys(route.destinations, objects),
        deadline_seconds=route.deadline_minutes * 60 if route.deadline_minutes is not None else None,
        per_series=route.per == "series",
        quiet_seconds=quiet_seconds if route.quiet_seconds is None else route.quiet_seconds,
        expects=_expectation(f"route {route.name}", route.expects),
    )


def expected_of(settings: Settings) -> dict[str, Expectation]:
    """AE title of a peer that sends -> what belongs to its studies."""
    made = {peer.ae_title: _expectation(f"peer {peer.name}", peer.expects) for peer in settings.peer}
    return {ae_title: one for ae_title, one in made.items() if one is not None}


def _expectation(whose: str, said: Expects | None) -> Expectation | None:
    if said is None:
        return None
    series = tuple(ExpectedSeries(tuple(map(_condition, one.when)), one.at_least) for one in said.series)
    return Expectation(whose, series, said.wait_minutes * 60, hold=said.otherwise == "hold")


def _condition(said: ConditionSettings) -> Condition:
    every, keyword = said.over == "all", said.keyword or ""
    if said.time is not None:
        return conditions.at_hours(said.time, partial(hours.within, said.time))
    if said.calling_ae_title is not None:
        return conditions.one_of(CALLING_AE_TITLE, frozenset(said.calling_ae_title), every=every)
    if said.matches is not None:
        return conditions.matches(keyword, said.matches, every=every)
    if said.range is not None:
        return conditions.within(keyword, *said.range, every=every)
    if said.exists is not None:
        return conditions.exists(keyword, wanted=said.exists, every=every)
    values = said.modality or said.one_of or [said.equals or ""]
    return conditions.one_of(keyword or "Modality", frozenset(values), every=every)


def doorkeeper(settings: Settings) -> Doorkeeper:
    """Who may call."""
    ours = settings.node.ae_title if settings.receive.require_called_ae else ""
    return Doorkeeper(tuple(_known(peer) for peer in settings.peer), called_ae=ours)


def _known(peer: Peer) -> KnownPeer:
    to = peer.destination
    return KnownPeer(
        peer.name,
        peer.ae_title,
        ipaddress.ip_network(peer.address, strict=False) if peer.address else None,
        peer.may_send,
        peer.may_send_labels,
        commitment_host=to.host if to is not None and to.commitment else "",
        called_ae=peer.called_ae,
        needs_tls=peer.needs_tls,
        sha256=frozenset(peer.certificate_sha256),
        names=frozenset(name.lower() for name in peer.certificate_names),
        quota=Quota(peer.associations, peer.instances_per_hour, int(peer.gb_per_hour * 1e9)),
    )
