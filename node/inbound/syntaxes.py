"""What the receiver offers: all storage SOP classes, in the transfer syntaxes that can be stored as they are."""

from __future__ import annotations

from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from pynetdicom import AllStoragePresentationContexts, build_context
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification

# Deflated data sets are not offered: a few bytes of one can unpack to gigabytes, and the whole file must be unpacked to
# know that it is whole.
ACCEPTED: tuple[UID, ...] = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    JPEGLosslessSV1,
    JPEGLossless,
    JPEGLSLossless,
    JPEGLSNearLossless,
    JPEG2000Lossless,
    JPEG2000,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    HTJ2K,
    RLELossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
)
#: of everything that is no storage; pynetdicom would add the deflated one
UNCOMPRESSED = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]


def verification() -> list[PresentationContext]:
    """C-ECHO."""
    return [build_context(Verification, UNCOMPRESSED)]


def commitment() -> list[PresentationContext]:
    """N-EVENT-REPORT of storage commitment, from a caller that is the SCP of it (PS3.4 J.3.3).

    Both roles stand here so that every proposal is answered: without role selection, as Orthanc makes it, and with, as
    dcm4chee does.
    """
    context = build_context(StorageCommitmentPushModel, UNCOMPRESSED)
    context.scu_role = context.scp_role = True
    return [context]


def storage() -> list[PresentationContext]:
    """C-ECHO and C-STORE of every storage SOP class that pynetdicom knows."""
    classes = sorted(uids(AllStoragePresentationContexts))
    return verification() + [build_context(uid, list(ACCEPTED)) for uid in classes]


def uids(contexts: list[PresentationContext]) -> set[UID]:
    """The SOP classes of presentation contexts."""
    return {context.abstract_syntax for context in contexts if context.abstract_syntax is not None}
