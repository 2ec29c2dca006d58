"""How a candidate's label maps agree with the champion's, study by study and in few numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from db import networks, shadows
from db.database import Clock, Database
from db.networks import VersionState
from db.tables import input_set, patient, study
from node.learning.shadowing import agreement

AFFINE = np.diag([2.0, 1.0, 5.0, 1.0])  # 10 mm3 per voxel
VALUES = (1, 2, 300)
PARTS = {value: (value,) for value in VALUES}


def maps(seed: int) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    random = np.random.default_rng(seed)
    one = random.choice(np.array([0, 1, 2, 300], np.uint16), (5, 12, 9))
    other = np.where(random.random(one.shape) < 0.7, one, random.choice(np.array([0, 1, 2, 300], np.uint16), one.shape))
    return one, other.astype(np.uint16)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(), (1,), (2, 300), VALUES]))
def test_it_is_what_counting_voxel_by_voxel_gives(seed: int, erased: tuple[int, ...]) -> None:
    champion, candidate = maps(seed)
    candidate[np.isin(candidate, erased)] = 0
    found = agreement(champion, candidate, AFFINE, PARTS)
    assert list(found) == ["1", "2", "300"]
    for value in VALUES:
        one, other = champion == value, candidate == value
        both = int((one & other).sum())
        assert found[str(value)]["dice"] == pytest.approx(2 * both / (int(one.sum()) + int(other.sum())))
        assert found[str(value)]["champion_ml"] == pytest.approx(one.sum() * 0.01)
        assert found[str(value)]["candidate_ml"] == pytest.approx(other.sum() * 0.01)
    assert json.loads(json.dumps(found)) == found


def test_a_class_that_neither_has_says_nothing_and_one_that_only_one_has_says_zero() -> None:
    champion = np.zeros((2, 4, 4), np.uint8)
    candidate = champion.copy()
    candidate[0, 0, 0] = 2
    found = agreement(champion, candidate, AFFINE, {1: (1,), 2: (2,)})
    assert found["1"] == {"dice": None, "champion_ml": 0, "candidate_ml": 0}
    assert found["2"] == {"dice": 0, "champion_ml": 0, "candidate_ml": pytest.approx(0.01)}


def test_left_and_right_exchanged_agree_nowhere() -> None:
    champion = np.zeros((3, 6, 6), np.uint8)
    champion[:, :, :3], champion[:, :, 3:] = 1, 2
    found = agreement(champion, champion[:, :, ::-1], AFFINE, {1: (1,), 2: (2,)})
    assert found["1"]["dice"] == found["2"]["dice"] == 0
    assert found["1"]["champion_ml"] == found["1"]["candidate_ml"]


def test_a_sheared_grid_has_the_volume_of_its_voxels() -> None:
    sheared = AFFINE.copy()
    sheared[1, 2] = 3.0  # gantry tilt
    full = np.ones((2, 3, 4), np.uint8)
    wanted = pytest.approx(0.24)
    assert agreement(full, full, sheared, {1: (1,)})["1"] == {"dice": 1, "champion_ml": wanted, "candidate_ml": wanted}


@pytest.mark.parametrize("value", [3, 301, 65535])
def test_a_label_that_the_card_does_not_list_is_no_agreement(value: int) -> None:
    champion, candidate = maps(1)
    candidate[2, 3, 4] = value
    with pytest.raises(ValueError, match="does not list"):
        agreement(champion, candidate, AFFINE, PARTS)


def test_label_maps_of_different_grids_are_not_compared() -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        agreement(np.zeros((2, 3, 4), np.uint8), np.zeros((2, 4, 3), np.uint8), AFFINE, PARTS)


# -------------------------------------------------------------------- rows


def rows(database: Database) -> tuple[list[int], int, int]:
    """Three input sets, a champion and a candidate."""
    with database.write() as tx:
        person = tx.execute(sa.insert(patient).values(issuer="", patient_id="1").returning(patient.c.id)).scalar_one()
        made = sa.insert(study).values(study_uid="1.2", patient_id=person, state="closed", arrived=Clock())
        study_id = tx.execute(made.returning(study.c.id)).scalar_one()
        sets = [
            tx.execute(
                sa.insert(input_set)
                .values(study_id=study_id, network="n", slot="", members_hash=str(n), because="", created=Clock())
                .returning(input_set.c.id)
            ).scalar_one()
            for n in range(3)
        ]
        champion, candidate = (
            networks.register(
                tx, network="n", version=v, weights_sha256=v, card_sha256=v, device_uid=f"1.{v}", state=state
            )
            for v, state in (("1", VersionState.INSTALLED), ("2", VersionState.CANDIDATE))
        )
    return sets, champion, candidate


def test_what_candidates_made_is_kept_once_and_summed_up(database: Database) -> None:
    sets, champion, candidate = rows(database)
    said = [
        {"1": {"dice": 0.9, "champion_ml": 100.0, "candidate_ml": 90.0}, "2": _empty()},
        {"1": {"dice": 0.5, "champion_ml": 50.0, "candidate_ml": 10.0}, "2": _empty()},
        {"1": _empty(), "2": _empty()},
    ]
    with database.read() as tx:
        assert shadows.summary(tx, candidate) is None
    for n, (input_set_id, one) in enumerate(zip(sets, said, strict=True)):
        values = dict(input_set_id=input_set_id, model_version_id=candidate, champion_id=champion)
        with database.write() as tx:
            assert not shadows.has(tx, input_set_id, candidate)
            assert shadows.record(tx, **values, mask_path=f"shadows/{n}.npy", agreement=one, seconds=n + 1.0)
            assert shadows.has(tx, input_set_id, candidate)
        with database.write() as tx:
            again = dict(mask_path="shadows/again.npy", agreement=said[0], seconds=9.0)
            assert not shadows.record(tx, **values, **again), "the first run counts"
    with database.read() as tx:
        found = shadows.summary(tx, candidate)
        kept = shadows.of_version(tx, candidate, champion)
        assert shadows.of_version(tx, candidate, candidate) == []
        assert shadows.mask_paths(tx) == set()  # of a version that is not in the shadow any more
    with database.write() as tx:
        networks.change_state(tx, candidate, VersionState.ELIGIBLE, "gate", "better")
        networks.change_state(tx, candidate, VersionState.SHADOW, "gate", "better")
        assert shadows.mask_paths(tx) == {f"shadows/{n}.npy" for n in range(3)}
    assert [one["agreement"] for one in kept] == said
    assert found is not None
    assert (found.studies, found.seconds) == (3, 2.0)
    one, two = found.classes
    assert (one.value, one.dice, one.lowest_dice, one.empty) == (1, pytest.approx(0.7), 0.5, 1)
    assert (one.champion_ml, one.candidate_ml) == (50.0, pytest.approx(100 / 3))
    assert (two.value, two.dice, two.lowest_dice, two.empty) == (2, None, None, 3)


def _empty() -> dict[str, float | None]:
    return {"dice": None, "champion_ml": 0.0, "candidate_ml": 0.0}
