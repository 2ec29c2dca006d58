"""Look at the finished bytes of a run as a stranger would, before they may be sent (promise 8).

Everything is read back by pydicom and numpy, whoever wrote it, and compared with the run, with the images that it was
made from, and with one another. A fault is a sentence; no bytes, however broken, raise an error.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from ...study.facts import UNREADABLE
from ..forms import PDF, PM, RTSTRUCT, SC, SEG, SR, STL, Form
from ..run import Run
from . import air, codes, contours, identity, maps, masks, pictures, reports, segments, surfaces
from .ends import Incomplete
from .read import Object, Read, read
from .together import Together

__all__ = ["Object", "faults"]

Check = Callable[[Read, Together], Iterable[str]]

#: what broken bytes make pydicom and numpy raise, wherever a value is met
BROKEN = (*UNREADABLE, ArithmeticError, LookupError, RuntimeError, MemoryError)


def faults(objects: Sequence[Object], run: Run) -> list[str]:
    """Compare what was written with what was meant.

    Args:
        objects: of one run, in any order; what is not there is not missed.
        run: that they tell of.

    Returns:
        Every fault, each a sentence that begins with the object's kind and options; none where all is right.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, of values that are looked at one by one
        whole, found = _read(objects)
        together = Together(run, whole)
        for form, one in whole.items():
            for check in (identity.faults, air.faults, _codes, *CHECKS[form.kind]):
                found += [f"{' '.join(form)}: {fault}" for fault in _guarded(partial(check, one, together))]
        found += _guarded(partial(identity.one_each, list(whole.values())))
    return list(dict.fromkeys(found))


def _read(objects: Sequence[Object]) -> tuple[dict[Form, Read], list[str]]:
    whole: dict[Form, Read] = {}
    found = []
    for one in objects:
        form = Form(one.kind, one.options)
        name = " ".join(form)
        if form.kind not in CHECKS or form in whole:
            found.append(f"{name}: " + ("there are two of them" if form in whole else "no run has such an object"))
            continue
        try:
            whole[form] = read(one)
        except BROKEN as error:
            found.append(f"{name}: {_unreadable(error)}")
    return whole, found


def _guarded(check: Callable[[], Iterable[str]]) -> Iterator[str]:
    """The faults that a check finds, and that it could not go on."""
    try:
        yield from check()
    except BROKEN as error:
        yield _unreadable(error)


def _unreadable(error: BaseException) -> str:
    """Without what pydicom says of it: there may be the patient's name in that."""
    return f"it cannot be read back ({error if isinstance(error, Incomplete) else type(error).__name__})"


def _codes(one: Read, together: Together) -> Iterator[str]:
    frames = together.frames(one.form)
    return codes.faults(one, together.run, frames.distinct if frames else ())


def _segments(one: Read, together: Together) -> Iterator[str]:
    """Of the header first: what is wrong there explains what is wrong in the voxels."""
    frames = together.frames(one.form)
    if frames is not None:
        yield from segments.faults(one, frames, together)
        yield from masks.faults(one, frames, together)


#: kind -> what is looked at beside identity, maker and codes
CHECKS: dict[str, tuple[Check, ...]] = {
    SEG: (_segments,),
    SR: (reports.faults,),
    SC: (pictures.key_image_faults,),
    PDF: (pictures.document_faults,),
    RTSTRUCT: (contours.faults,),
    STL: (surfaces.faults,),
    PM: (maps.faults,),
}
