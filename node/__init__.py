"""The service: the only package that knows DICOM."""

__version__ = "0.1.0"
