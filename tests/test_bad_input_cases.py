"""Every kind of bad input has its tests, and they exist; those of the network run over plain TCP and over TLS."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.bad_inputs import CASES, GROUPS, NETWORK, page

TESTS = Path(__file__).parent
#: fixtures and helpers by which a test runs in both ways
BOTH = {"tried", "hasty", "over", "guarded"}


def functions(module: str) -> dict[str, set[str]]:
    """The tests of a module by name, each with the names of its arguments."""
    tree = ast.parse((TESTS / f"{module}.py").read_text())
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    return {one.name.removeprefix("test_"): {argument.arg for argument in one.args.args} for one in found}


def test_there_are_58_cases_each_in_one_group() -> None:
    assert sorted(CASES) == list(range(1, 59))
    assert [number for numbers in GROUPS.values() for number in numbers] == list(range(1, 59))


@pytest.mark.parametrize("number", range(1, 59))
def test_a_case_has_tests_and_they_exist(number: int) -> None:
    case = CASES[number]
    assert case.tests
    for module, names in case.tests.items():
        there = functions(module)
        assert set(names) <= set(there), f"{module} has no {sorted(set(names) - set(there))}"


@pytest.mark.parametrize("number", NETWORK)
def test_a_case_of_the_network_runs_over_plain_tcp_and_over_tls_or_says_why_not(number: int) -> None:
    case = CASES[number]
    both = [
        name
        for module, names in case.tests.items()
        if module in ("test_bad_connections", "test_bad_messages")
        for name in names
        if functions(module)[name] & BOTH
    ]
    assert both or case.why_not_both


def test_the_page_is_what_the_table_says() -> None:
    assert (TESTS.parent / "docs" / "bad-inputs.md").read_text() == page(), (
        "python -P -m tests.bad_inputs > docs/bad-inputs.md"
    )
