"""What a drafted card has where only a person knows, and what proposes the rest."""

from __future__ import annotations

from collections.abc import Callable

#: stands wherever a person has to say something; a card that has it is not taken
FILL_IN = "FILL IN"
#: (category, type, laterality or None) of a structure, by its label; None where no code has that name
Suggest = Callable[[str], tuple[list[str], list[str], list[str] | None] | None]
