"""Rows in, rows out: the only package that knows SQL.

`database.open_database(url)` gives a `Database`; every other function takes a transaction of it (`tx`) as its first
argument, so that facts which belong together are committed together by the caller.
"""
