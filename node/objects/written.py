"""Every kind of object that this node writes: its SOP class, and the transfer syntax that it is kept in."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EncapsulatedPDFStorage,
    EncapsulatedSTLStorage,
    EnhancedSRStorage,
    KeyObjectSelectionDocumentStorage,
    ParametricMapStorage,
    RTStructureSetStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from . import notice, rejection
from .forms import (
    BINARY,
    COMPREHENSIVE,
    CONTOURS,
    ENTROPY,
    LABEL_MAP,
    LABEL_MAP_SEGMENTATION_STORAGE,
    PDF,
    PM,
    REPORT,
    RTSTRUCT,
    SEG,
    SR,
    VOLUMES,
    Form,
    key_image,
    surface,
)

#: what asks for a notice and for a rejection note: keys of a destination, as the kinds in `objects` are for the rest
REFUSALS, REJECTION_NOTES = "refusals", "rejection_notes"
#: standard SOP classes that pydicom has no name for yet
NAMES = {LABEL_MAP_SEGMENTATION_STORAGE: "Label Map Segmentation Storage"}


@dataclass(frozen=True)
class Written:
    """One kind of object.

    Attributes:
        key: what a destination asks for it by: a kind in `objects`, else a key of its own.
        transfer_syntax: of the stored bytes.
        instead_of: the SOP class that it takes the place of where a destination refuses that.
    """

    key: str
    sop_class: UID
    transfer_syntax: UID
    instead_of: UID | None = None

    @property
    def name(self) -> str:
        return name_of(self.sop_class)


def _of(form: Form, sop_class: str, instead_of: UID | None = None) -> Written:
    return Written(form.kind, UID(sop_class), form.transfer_syntax, instead_of)


#: in the order of sending
WRITTEN = (
    _of(Form(SEG, BINARY), SegmentationStorage, LABEL_MAP_SEGMENTATION_STORAGE),
    _of(Form(SEG, LABEL_MAP), LABEL_MAP_SEGMENTATION_STORAGE),
    _of(Form(SR, VOLUMES), Comprehensive3DSRStorage),
    _of(Form.of(SR, VOLUMES, COMPREHENSIVE), ComprehensiveSRStorage, Comprehensive3DSRStorage),
    _of(key_image(1), SecondaryCaptureImageStorage),
    _of(Form(PDF, REPORT), EncapsulatedPDFStorage),
    _of(Form(RTSTRUCT, CONTOURS), RTStructureSetStorage),
    _of(surface(1), EncapsulatedSTLStorage),
    _of(Form(PM, ENTROPY), ParametricMapStorage),
    Written(REFUSALS, EnhancedSRStorage, notice.FORM.transfer_syntax),
    Written(REJECTION_NOTES, KeyObjectSelectionDocumentStorage, Form(rejection.KIND, "").transfer_syntax),
)


def name_of(uid: str) -> str:
    """The name of a SOP class or transfer syntax in the Standard; the UID itself where nobody knows one."""
    return NAMES.get(UID(uid)) or UID(uid).name
