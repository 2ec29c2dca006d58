"""The DICOM objects that we write: repaired headers, Segmentation, Structured Report, and the check of both."""
