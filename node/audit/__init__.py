"""The audit trail after DICOM PS3.15 A.5: what a site's collector is told, how it is written, how it gets there."""
