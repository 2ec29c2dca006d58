"""The network, as it is named wherever an algorithm is (PS3.3 table 10-19)."""

from __future__ import annotations

import highdicom as hd
from pydicom.sr.codedict import codes

from ..run import Run


def algorithm(run: Run) -> hd.AlgorithmIdentificationSequence:
    """Algorithm Identification Sequence of what a run's network made."""
    card = run.provenance.card
    return hd.AlgorithmIdentificationSequence(
        name=run.provenance.algorithm_name,
        version=card.version,
        source=card.manufacturer,
        family=codes.DCM.ArtificialIntelligence,
    )
