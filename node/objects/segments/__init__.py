"""Segmentations (PS3.3 A.51, A.90): BINARY for everyone, LABELMAP for who can show it; written without detours."""
