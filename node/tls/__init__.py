"""DICOM over TLS: which versions and ciphers, whose certificates, and what went wrong in words (PS3.15 Annex B)."""
