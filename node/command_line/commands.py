"""What each command of the command line does: settings, a node, one call."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from config.settings import SettingsError
from db.database import DatabaseError
from models.card import CardError
from models.confine.rights import Demand

from ..app import Node, database_url, open_node
from ..audit.transfer import imported
from ..configured import accepting_of, collector_of, fetching_of, targets_of
from ..errors import NodeError
from ..operations.terminal import print_json
from .options import peer_of, settings_of, who

EXIT_FAILED = 1


def call(options: argparse.Namespace) -> int:
    """Run the command that was asked for; what a person can mend is said in a sentence, without a traceback."""
    from ..supervisor import NotStarted

    try:
        return COMMANDS[options.command](options)
    except NodeError as error:
        said = error.sentence
    except (SettingsError, DatabaseError, CardError, NotStarted) as error:
        said = str(error)
    except OSError as error:
        said = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    except KeyboardInterrupt:
        return 130
    sys.stderr.write(f"planimeter: {said}\n")
    return EXIT_FAILED


def process(options: argparse.Namespace) -> int:
    from . import processes as process_commands

    return process_commands.COMMANDS[options.command](options)


# ------------------------------------------------------------- asking, doing


def _node(options: argparse.Namespace) -> Node:
    return open_node(settings_of(options))


def status(options: argparse.Namespace) -> int:
    from ..operations import confinement
    from ..operations import machines as machine_rows
    from ..operations import status as view

    node = _node(options)
    most = None if options.all else view.NEWEST
    overview = view.overview(node.database, node.alarms.promise, most)
    overview["networks"] = machine_rows.warm_networks(node.database, node.archive.home)
    overview["confinement"] = confinement.overview(node.confine)
    print_json(overview) if options.json else view.print_tables(overview, node.database)
    return 0


def jobs(options: argparse.Namespace) -> int:
    from ..operations import status as view

    node = _node(options)
    return view.print_attempts(node.database, options.id) if options.id else view.print_jobs(node.database)


def retry(options: argparse.Namespace) -> int:
    from ..operations import control

    return _say(control.retry(_node(options).database, options.id))


def cancel(options: argparse.Namespace) -> int:
    from .. import giving_up

    return _say(giving_up.cancel(_node(options), options.id, who()))


def one_study(options: argparse.Namespace) -> int:
    from . import studies as study_commands

    return study_commands.call(options, _node(options))


def close(options: argparse.Namespace) -> int:
    from ..operations import control

    node = _node(options)
    return _say(control.close(node.database, options.study_uid, who(), node.work.attempts))


def pause(options: argparse.Namespace) -> int:
    from ..operations import control

    activities = [options.activity] if options.activity else list(control.ACTIVITIES)
    return _say(control.pause(_node(options).database, activities, paused=options.command == "pause", who=who()))


def _say(sentence: str) -> int:
    sys.stdout.write(sentence + "\n")
    return 0


def decide(options: argparse.Namespace) -> int:
    from . import results

    return results.call(options)


def submit(options: argparse.Namespace) -> int:
    from ..operations import submit as door

    node = _node(options)
    return door.submit(node.inbox, options.path, imported(node.trail, who()))


def send(options: argparse.Namespace) -> int:
    from ..operations import send as post

    settings = settings_of(options)
    return post.send(options.path, peer_of(settings, options.target), settings.node.ae_title)


def fetch(options: argparse.Namespace) -> int:
    from . import fetching as fetch_commands

    return fetch_commands.call(options, _node(options))


def reconcile(options: argparse.Namespace) -> int:
    from . import fetching as fetch_commands

    return fetch_commands.reconcile(options, _node(options))


def check(options: argparse.Namespace) -> int:
    from ..operations import checks
    from .in_use import in_use

    live = in_use(settings_of(options))
    settings = live.settings
    return checks.check(
        home=settings.home,
        database_url=database_url(settings),
        device=settings.work.device,
        confine=Demand(settings.work.confine),
        reserve_gb=settings.receive.reserve_gb,
        listen=f"{settings.listen}:{settings.receive.port if settings.tls.plain else settings.tls.port}",
        tls=accepting_of(settings),
        tls_port=settings.tls.port,
        senders=[peer.name for peer in settings.senders],
        targets=list(targets_of(settings).values()),
        pacs=[one.target for one in fetching_of(settings).pacs.values()],
        ae_title=settings.node.ae_title,
        collector=collector_of(settings),
        routes={route.name: route.networks for route in settings.route},
        live=live.said,
    )


def upgrade(options: argparse.Namespace) -> int:
    from ..operations import upgrade as upgrading

    settings = settings_of(options)
    return _say(upgrading.upgrade(settings.home, database_url(settings), backed_up=options.backed_up))


def peers(options: argparse.Namespace) -> int:
    from . import peers as peer_commands

    return peer_commands.call(options)


def demo(options: argparse.Namespace) -> int:
    from ..demo import show

    return show.demo(options.study, options.out)


def routes(options: argparse.Namespace) -> int:
    from . import routes as route_commands

    return route_commands.call(options)


def config(options: argparse.Namespace) -> int:
    from . import configuration as config_commands

    return config_commands.call(options)


def alarms(options: argparse.Namespace) -> int:
    from . import alarms as alarm_commands

    return alarm_commands.call(options)


def machines(options: argparse.Namespace) -> int:
    from . import machines as machine_commands

    return machine_commands.call(options)


def learn(options: argparse.Namespace) -> int:
    from . import learning as learning_commands

    return learning_commands.call(options)


def keep(options: argparse.Namespace) -> int:
    from . import storage as storage_commands

    return storage_commands.call(options)


def export(options: argparse.Namespace) -> int:
    from . import exporting

    return exporting.call(options)


def users(options: argparse.Namespace) -> int:
    from . import users as user_commands

    return user_commands.call(options)


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "run": process,
    "receive": process,
    "work": process,
    "schedule": process,
    "web": process,
    "status": status,
    "jobs": jobs,
    "retry": retry,
    "cancel": cancel,
    "study": one_study,
    "reprocess": one_study,
    "deliver": one_study,
    "destinations": one_study,
    "close": close,
    "pause": pause,
    "resume": pause,
    "release": decide,
    "discard": decide,
    "withdraw": decide,
    "submit": submit,
    "send": send,
    "fetch": fetch,
    "reconcile": reconcile,
    "check": check,
    "doctor": peers,
    "conformance": peers,
    "upgrade": upgrade,
    "routes": routes,
    "config": config,
    "users": users,
    "alarms": alarms,
    "machines": machines,
    "metrics": alarms,
    "health": alarms,
    "labels": learn,
    "patients": learn,
    "models": learn,
    "audit": learn,
    "retrain": learn,
    "purge": keep,
    "backup": keep,
    "erase": keep,
    "export": export,
    "resend": keep,
    "restore": keep,
    "watch": learn,
    "demo": demo,
}
