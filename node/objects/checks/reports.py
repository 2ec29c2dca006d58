"""A report beside the run and the segmentation that it goes with (TID 1500, PS3.16; PS3.3 C.17)."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.dataset import Dataset

from ...study.facts import text
from ..forms import DIAMETERS, VOLUMES
from ..run import Run
from . import content, findings
from .content import Item, content_of
from .findings import finding_faults
from .identity import classes_of
from .masks import slices_of
from .numbers import numbers
from .read import Read
from .together import Together, segmentation_of

TITLE = ("126000", "DCM")
LANGUAGE, OBSERVER_TYPE, PROCEDURE = "121049", "121005", "121058"
MEASUREMENTS, GROUP, COMMENT = "126010", "125007", "121106"
TRACKING, TRACKED = "112040", "112039"
SEGMENT, FRAME, SOURCE_SERIES, SOURCE_IMAGE = "121191", "121214", "121232", "121233"


def faults(one: Read, together: Together) -> Iterator[str]:
    """Whether a report says of the run what is true, of its segments, in the order of the card."""
    root, run = content_of(one.ds), together.run
    yield from content.faults(root)
    yield from _document(one.ds, root)
    yield from _flags(root, run)
    groups = [item for above in root.named(MEASUREMENTS) for item in above.named(GROUP)]
    if run.found is None:
        yield from _segments(groups, one, together)
    else:
        yield from findings.faults(groups, run.found, together)
    yield from _evidence(one, root, together)
    yield from _predecessors(one, run)


def _segments(groups: list[Item], one: Read, together: Together) -> Iterator[str]:
    run = together.run
    meant = _meant(one, run)
    tracked = [item.text for group in groups for item in group.named(TRACKING)]
    if len(groups) != len(meant) or tracked != [uid for uid, _, _ in meant]:
        yield "its groups are not the segments of the card in their order, by tracking UID (112040)"
    else:
        for group, (_, n, lesion) in zip(groups, meant, strict=True):
            name = run.provenance.card.segment[n].label + (f", lesion {lesion}" if lesion else "")
            yield from (f"{name}: {fault}" for fault in _group(group, n, lesion, one, together))


def _document(ds: Dataset, root: Item) -> Iterator[str]:
    name = ds.get("ConceptNameCodeSequence") or [Dataset()]
    if (name[0].get("CodeValue"), name[0].get("CodingSchemeDesignator")) != TITLE:
        yield "its title is not Imaging Measurement Report (126000, DCM)"
    template = (ds.get("ContentTemplateSequence") or [Dataset()])[0]
    if (template.get("TemplateIdentifier"), template.get("MappingResource")) != ("1500", "DCMR"):
        yield "it is not said to follow TID 1500"
    if (text(ds, "CompletionFlag"), text(ds, "VerificationFlag")) != ("COMPLETE", "UNVERIFIED"):
        yield "it is not marked as complete and unverified"
    for code, what in ((LANGUAGE, "language"), (OBSERVER_TYPE, "observer"), (PROCEDURE, "procedure reported")):
        if len(root.named(code)) != 1:
            yield f"it does not state its {what} ({code}, DCM)"
    if len(root.named(MEASUREMENTS)) != 1:
        yield "it has no measurements (126010, DCM)"


def _flags(root: Item, run: Run) -> Iterator[str]:
    """Every doubt is there in words, and every result of another network that was read."""
    said = {item.text for item in root.walk() if item.value_type == "TEXT"}
    for one in run.provenance.read:
        if one.sentence not in said:
            yield f"it does not say that the result of {one.network} was read"
    for flag in run.flags:
        if flag.sentence not in said:
            yield f"it does not say what is doubtful ({flag.code})"


def _meant(one: Read, run: Run) -> list[tuple[str, int, int]]:
    """The groups that there should be: tracking UID, place of the segment in the card, number of the lesion or 0."""
    found = []
    for n, (segment, measured) in enumerate(zip(run.provenance.card.segment, run.measured, strict=True)):
        found.append((run.provenance.tracking_uid(segment), n, 0))
        if one.form.base == DIAMETERS:
            lesions = [lesion.number for lesion in measured.lesions]
            found += [(run.provenance.tracking_uid(segment, lesion), n, lesion) for lesion in lesions]
    return found


def _group(group: Item, n: int, lesion: int, one: Read, together: Together) -> Iterator[str]:
    run = together.run
    in_patient = run.volume.geometry.in_patient
    segment = run.provenance.card.segment[n]
    wanted = {VOLUMES: "1411" if in_patient else "1410", DIAMETERS: "1501"}.get(one.form.base)
    template = (group.ds.get("ContentTemplateSequence") or [Dataset()])[0]
    if template.get("TemplateIdentifier") != wanted:
        yield f"its group is not said to follow TID {wanted}"
    if not any(item.text for item in group.named(TRACKED)):
        yield "its group has no tracking identifier"
    yield from finding_faults(group, segment)
    if one.form.base == VOLUMES:
        yield from _reference(group, n, one, together)
        if not run.measured[n].voxels and not group.named(COMMENT):
            yield "nothing was found, and the report does not say so"
    yield from numbers(group, n, lesion, one.form.base, together)


def _reference(group: Item, n: int, one: Read, together: Together) -> Iterator[str]:
    """To the segment with the number that the group is about, of the segmentation of the same edition."""
    run, wanted = together.run, segmentation_of(one.form)
    in_patient = run.volume.geometry.in_patient
    items = group.named(SEGMENT if in_patient else FRAME)
    references = [reference for item in items for reference in item.ds.get("ReferencedSOPSequence") or ()]
    if len(references) != 1:
        yield "it does not refer to its segment"
        return
    reference = references[0]
    named = text(reference, "ReferencedSOPClassUID"), text(reference, "ReferencedSOPInstanceUID")
    if named != (classes_of(wanted)[0], run.provenance.result_uid(*wanted)):
        yield f"it refers to another object than the segmentation that it goes with ({wanted.options})"
    if in_patient:
        if int(reference.get("ReferencedSegmentNumber") or 0) != n + 1:
            yield "it refers to another segment"
        if [item.text for item in group.named(SOURCE_SERIES)] != [str(run.sources[0].SeriesInstanceUID)]:
            yield "it does not name the series that was segmented"
        return
    yield from _frame(group, reference, n, one, together)


def _frame(group: Item, reference: Dataset, n: int, one: Read, together: Together) -> Iterator[str]:
    """On images that are no volume: to the frame of the slice that has most of it, and to its image."""
    k = int(together.pixels(together.run.provenance.card.segment[n]).argmax())
    frames = together.frames(segmentation_of(one.form))
    number = int(reference.get("ReferencedFrameNumber") or 0)
    if frames is not None:
        shown = 1 <= number <= len(frames) and (frames.segments[number - 1], slices_of(frames, together)[number - 1])
        if shown not in ((n + 1, k), (0, k)):
            yield "it refers to another frame than the one that shows most of its segment"
    images = [item for above in group.named(SOURCE_IMAGE) for item in above.ds.get("ReferencedSOPSequence") or ()]
    if [together.slice_of(item) for item in images] != [k]:
        yield "it does not name the image that was segmented"


def _evidence(one: Read, root: Item, together: Together) -> Iterator[str]:
    """All that is referred to is listed, and nothing that the report cannot know (PS3.3 C.17.2.1)."""
    run, needed = together.run, set[str]()
    known = {str(s.SOPInstanceUID): (str(s.SeriesInstanceUID), str(s.SOPClassUID)) for s in run.sources}
    if run.found is None:
        seg = segmentation_of(one.form)
        seg_uid = run.provenance.result_uid(*seg)
        needed, known[seg_uid] = {seg_uid}, (run.provenance.series_uid(seg_uid), classes_of(seg)[0])
    read = {one.sop_instance_uid: (one.series_uid, one.sop_class_uid) for one in run.provenance.read}
    known |= read
    listed = {}
    for study in one.ds.get("CurrentRequestedProcedureEvidenceSequence") or ():
        if text(study, "StudyInstanceUID") != text(run.sources[0], "StudyInstanceUID"):
            yield "its evidence is of another study"
        for series in study.get("ReferencedSeriesSequence") or ():
            for item in series.get("ReferencedSOPSequence") or ():
                placed = text(series, "SeriesInstanceUID"), text(item, "ReferencedSOPClassUID")
                listed[text(item, "ReferencedSOPInstanceUID")] = placed
    referred = {
        text(reference, "ReferencedSOPInstanceUID")
        for item in root.walk()
        for reference in item.ds.get("ReferencedSOPSequence") or ()
    }
    if lacking := (referred | needed | set(read)) - set(listed):
        yield f"{len(lacking)} objects that it refers to are not in its evidence"
    if any(known.get(uid) != placed for uid, placed in listed.items()):
        yield "its evidence lists an object that is not of this run, or puts it into another series or class"


def _predecessors(one: Read, run: Run) -> Iterator[str]:
    """The reports that it takes the place of are named, and no others."""
    named = {
        text(item, "ReferencedSOPInstanceUID")
        for study in one.ds.get("PredecessorDocumentsSequence") or ()
        for series in study.get("ReferencedSeriesSequence") or ()
        for item in series.get("ReferencedSOPSequence") or ()
    }
    wanted = {old.sop_instance_uid for old in run.provenance.predecessors if old.template == one.form.base}
    if named != wanted:
        yield "it does not name the reports that it takes the place of (Predecessor Documents Sequence)"
