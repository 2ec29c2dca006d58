"""Worked cases: one network, one study, all the way from C-STORE to the objects in a toy PACS; a page says what came.

    python -P -m tests.cases NAME --data FOLDER

`make case-NAME` runs it. A case is a value (`case.Case`); `known.CASES` has them all.
"""
