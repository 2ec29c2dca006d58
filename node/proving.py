"""Golden cases before studies: a version that has some reads none on a device, driver or library that they have not
held with.

It may be the same weights and another answer: a kernel of a new driver, another GPU, another convolution of a new
torch. What held is remembered for each environment, so that machines of several kinds share one node.
"""

from __future__ import annotations

from db import switches
from models import golden
from models.card import Bundle

from . import prediction, trying
from .app import Node
from .attempt import Stages
from .errors import Refused
from .operations import proofs


def require(node: Node, bundle: Bundle, stages: Stages) -> None:
    """Run the golden cases where they were not run yet; nothing where there are none.

    Raises:
        Refused: `golden-lost`: one does not hold, and the network is off from now on.
        Unavailable, Failed: as `prediction.predict`.
    """
    if not golden.are_in(bundle):
        return
    environment = prediction.environment(node.hosts, bundle)
    with node.database.read() as tx:
        before = proofs.last(tx, bundle, environment)
        off = bundle.card.name in switches.switched_off(tx)
    if before is not None and not before.faults:
        return
    if before is not None and off:  # jobs that were chosen before it lost one; on again, it is tried again
        raise _lost(bundle, before.faults)
    with stages("golden"):
        faults = _faults(node, bundle)
    with node.database.write() as tx:
        proofs.note(tx, bundle, environment, faults)
    if faults:
        raise _lost(bundle, faults)


def _faults(node: Node, bundle: Bundle) -> tuple[str, ...]:
    try:
        return tuple(trying.golden_faults(node, bundle, Stages(), makes_way=False))
    except Refused as refused:
        return (f"{refused.code}: {refused.sentence}",)


def _lost(bundle: Bundle, faults: tuple[str, ...]) -> Refused:
    name = bundle.card.name
    return Refused(
        "golden-lost",
        f"{name} does not find here what its bundle says that it has to find ({'; '.join(faults)}), and is off; when "
        f"driver, torch or device are mended, `planimeter models enable {name}` and `planimeter reprocess`",
    )
