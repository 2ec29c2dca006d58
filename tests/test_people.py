"""Which bucket a person gets, for ever; who may be one person, and what a decision about that does."""

from __future__ import annotations

import stat
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset
from sqlalchemy.engine import Connection

from db import data_sets, events
from db import people as rows
from db.data_sets import Member
from db.database import Database
from db.tables import label, patient, patient_trait, study, suspicion
from node.errors import Refused
from node.learning import people
from node.learning.buckets import Key, Shares, bucket, normalised
from node.learning.people import Enrolled, Traits
from node.learning.traits import pixel_digests, traits
from node.operations import people as decisions
from node.study import volume
from node.study.decode import Decoders
from tests.synthetic import as_files, small_series

KEY, OTHER_KEY = Key(b"k" * 32), Key(b"o" * 32)
SHARES = Shares()
NAME = ("Roe^Jane", "19560704", "F")
STUDY, FRAME = "1.2.826.0.1.3680043.8.498.11", "1.2.826.0.1.3680043.8.498.12"
#: chi-square with 2 degrees of freedom is above this once in 10,000
UNLIKELY = 18.4
NO_TRAITS = Traits()


def came(tx: Connection, patient_id: str, issuer: str = "") -> int:
    made = sa.insert(patient).values(patient_id=patient_id, issuer=issuer).returning(patient.c.id)
    return int(tx.execute(made).scalar_one())


def enrolled(
    database: Database, patient_id: str, found: Traits = NO_TRAITS, issuer: str = "", key: Key = KEY
) -> Enrolled:
    with database.write() as tx:
        return people.enrol(tx, key, SHARES, came(tx, patient_id, issuer), found)


def again(database: Database, patient_row_id: int, found: Traits = NO_TRAITS, key: Key = KEY) -> Enrolled:
    with database.write() as tx:
        return people.enrol(tx, key, SHARES, patient_row_id, found)


def ids_in(wanted: str, count: int = 1, prefix: str = "ID") -> list[str]:
    """PatientIDs whose hash puts them into a bucket."""
    every = (f"{prefix}{n}" for n in range(1, 10_000))
    return list(islice((one for one in every if bucket(KEY.pseudonym("", one), SHARES) == wanted), count))


def why_held(database: Database, *persons: Enrolled) -> list[str | None]:
    with database.read() as tx:
        return [people.quarantined(tx, one.patient_row_id) for one in persons]


def was_in(database: Database, person: Enrolled, role: str, purpose: str, network: str = "lung") -> None:
    """Put a label of a person into a data set."""
    with database.write() as tx:
        uid = f"1.2.3.{person.patient_row_id}.{role}"
        values: dict[str, object] = dict(
            source_uid=uid, source_sha256=uid, source_path="", came="added", calling_ae="", network=network
        )
        values |= dict(structures=[], annotated=[1], author="", tool="", made="", state="ready", created=0.0)
        made = sa.insert(label).values(**values, patient_id=person.patient_row_id).returning(label.c.id)
        member = Member(tx.execute(made).scalar_one(), person.patient_row_id, role)
        data_sets.record(tx, network, purpose, uid, {}, [member])


# ----------------------------------------------------------------- buckets


@pytest.mark.parametrize("shares", [Shares(), Shares(train=50, validation=10, test=40)])
def test_ten_thousand_patients_fall_into_the_buckets_in_their_shares(shares: Shares) -> None:
    counted = Counter(bucket(KEY.pseudonym("hospital", f"{n:07}"), shares) for n in range(10_000))
    parts = {"train": shares.train, "validation": shares.validation, "test": shares.test}
    assert sum((counted[name] - 100 * part) ** 2 / (100 * part) for name, part in parts.items()) < UNLIKELY


def test_nobody_falls_into_a_bucket_without_a_share() -> None:
    ends = ("0" * 32, "f" * 32)
    assert [bucket(one, Shares(train=100, validation=0, test=0)) for one in ends] == ["train", "train"]
    assert [bucket(one, Shares(train=0, validation=0, test=100)) for one in ends] == ["test", "test"]
    with pytest.raises(Refused, match="bad-shares"):
        Shares(train=70, validation=20, test=20)


@pytest.mark.parametrize("spelling", [" 00123-A", "123a", "\uff11\uff12\uff13A", "0123/a", "1 23.A", "١٢٣a", "123_A"])
def test_spellings_of_a_patient_id_are_one(spelling: str) -> None:
    assert normalised(spelling) == "123A"
    assert KEY.pseudonym("Clinic ", spelling) == KEY.pseudonym("clinic", "123A")


def test_other_identities_are_others() -> None:
    said = [
        ("", "123A"),
        ("", "123B"),
        ("", "1230A"),
        ("CLINIC", "123A"),
        ("C", "LINIC123A"),
        ("1.23", "1"),
        ("12.3", "1"),
    ]
    assert len({KEY.pseudonym(*one) for one in said}) == len(said)
    assert KEY.pseudonym("", "123A") != OTHER_KEY.pseudonym("", "123A")


def test_the_key_is_made_once_and_is_private(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: Key.of(tmp_path), range(8)))
    assert len(keys) == 1
    file = tmp_path / "learning" / "key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [one.name for one in file.parent.iterdir()] == ["key"]
    (key,) = keys
    assert key.secret == file.read_bytes()
    assert str(key.secret) not in repr(key)
    file.write_bytes(b"short")
    with pytest.raises(Refused, match="bad-key"):
        Key.of(tmp_path)


def test_who_has_no_patient_id_is_never_learnt_from(database: Database) -> None:
    for patient_id in ("", "  ", "000", "-/-", "anonymous", "N/A", "unknown"):
        with pytest.raises(Refused, match="no-patient-id"):
            enrolled(database, patient_id)
    with database.read() as tx:
        assert tx.execute(sa.select(patient.c.id)).first() is None, "nothing is written"


def test_a_bucket_is_for_ever_whatever_becomes_of_key_and_shares(database: Database) -> None:
    before = [enrolled(database, f"P{n}") for n in range(30)]
    elsewhere = Shares(train=0, validation=0, test=100)
    for one in before:
        with database.write() as tx:
            assert people.enrol(tx, OTHER_KEY, elsewhere, one.patient_row_id, Traits()) == one
    assert {one.bucket for one in before} == {"train", "validation", "test"}


def test_after_the_key_was_lost_another_spelling_still_falls_to_its_person(database: Database) -> None:
    before = [enrolled(database, f"P{n}A") for n in range(30)]
    moved = sum(bucket(OTHER_KEY.pseudonym("", f"P{n}A"), SHARES) != before[n].bucket for n in range(30))
    assert moved, "the other key would put some of them elsewhere"
    for n, one in enumerate(before):
        spelt = enrolled(database, f"p-{n}-a", key=OTHER_KEY)
        assert (spelt.bucket, spelt.pseudonym, spelt.suspects) == (one.bucket, one.pseudonym, (one.patient_row_id,))


def test_after_the_key_was_lost_ids_and_studies_are_compared_and_the_rest_is_said_to_be_not(database: Database) -> None:
    one = enrolled(database, "A1", Traits(names=frozenset({NAME}), study_uids=frozenset({STUDY})))
    with database.write() as tx:
        values = dict(study_uid=STUDY, patient_id=one.patient_row_id, state="none", arrived=0.0)
        tx.execute(sa.insert(study).values(**values))
    named = enrolled(database, "B2", Traits(names=frozenset({NAME})), key=OTHER_KEY)
    assert named.suspects == ()
    assert "1 patients" in decisions.listing(database, OTHER_KEY)["notes"][0]["note"]
    studied = enrolled(database, "C3", Traits(study_uids=frozenset({STUDY})), key=OTHER_KEY)
    assert studied.suspects == (one.patient_row_id,)
    assert again(database, one.patient_row_id, Traits(names=frozenset({NAME})), OTHER_KEY).suspects == (
        named.patient_row_id,
        studied.patient_row_id,
    )
    assert decisions.listing(database, OTHER_KEY)["notes"] == []


# ------------------------------------------------------------ coincidences

SHARED: dict[str, Traits] = {
    "name, birth date and sex": Traits(names=frozenset({NAME})),
    "study": Traits(study_uids=frozenset({STUDY})),
    "frame of reference": Traits(frames_of_reference=frozenset({FRAME})),
    "images": Traits(pixel_digests=frozenset({"ab" * 32})),
}


def test_who_shares_a_trait_is_suspected_and_across_buckets_kept_out(database: Database) -> None:
    trained, tested, (third,) = ids_in("train", len(SHARED)), ids_in("test", len(SHARED)), ids_in("validation")
    alone = enrolled(database, third)
    for train, test, (words, found) in zip(trained, tested, SHARED.items(), strict=True):
        first = enrolled(database, train, found)
        assert why_held(database, first, alone) == [None, None]
        second = enrolled(database, test, found)
        assert (first.bucket, second.bucket) == ("train", "test")
        assert second.suspects == (first.patient_row_id,)
        held = why_held(database, first, second, alone)
        assert held[2] is None
        for sentence in held[:2]:
            assert sentence is not None
            assert f"same {words}" in sentence
            assert not {train, test, *NAME} & set(sentence.split())


def test_the_same_patient_id_of_another_issuer_is_suspected(database: Database) -> None:
    one = enrolled(database, "4711")
    others = [enrolled(database, "0047-11", issuer=f"clinic {n}") for n in range(12)]
    assert all(one.patient_row_id in other.suspects for other in others)
    assert len({other.bucket for other in others}) > 1, "an issuer is part of the identity"
    assert all(why_held(database, one, *others))


def test_spellings_of_one_patient_are_suspects_in_one_bucket_and_used(database: Database) -> None:
    spellings = [enrolled(database, one) for one in ("00123-A", "123a", "123 A")]
    assert len({(one.bucket, one.pseudonym) for one in spellings}) == 1
    assert spellings[2].suspects == (spellings[0].patient_row_id, spellings[1].patient_row_id)
    assert why_held(database, *spellings) == [None] * 3


SPELLINGS = [
    (NAME, ("ROE^JANE^^Dr", "19560704", "F")),
    (NAME, ("Jane Roe", "19560704", "f")),
    (("M\u00fcller^Zo\u00eb", "19560704", "F"), ("Mueller^Zoe", "19560704", "F")),
    (("Bj\u00f8rk^A", "19560704", "F"), ("BJOERK^A", "19560704", "F")),
]
OTHERS = [
    (NAME, ("Roe^Jane", "19560705", "F")),
    (NAME, ("Roe^Jane", "19560704", "M")),
    (NAME, ("Roe^Joan", "19560704", "F")),
]


def test_spellings_of_a_name_are_one_and_other_people_are_not() -> None:
    def kept(name: tuple[str, str, str]) -> frozenset[tuple[str, str]]:
        return Traits(names=frozenset({name})).kept(KEY, "A1")

    assert all(kept(one) == kept(other) for one, other in SPELLINGS)
    assert not any(kept(one) == kept(other) for one, other in OTHERS)


NOTHING = Traits(
    names=frozenset(
        [
            *[("Roe^Jane", "", "F"), ("Roe^John", "19560704", ""), ("", "19560704", "F"), ("^^", "19560704", "F")],
            *[("Anonymous", "19560704", "F"), ("Roe^J", "00000000", "F")],
        ]
    ),
    study_uids=frozenset({"", "1.2.3.4.5", "0", "1.0.0.0.0.0", "1.2.840.10008.1.2", "none", "1.2.3"}),
    frames_of_reference=frozenset({"", "1.2.840.10008.1.4.1.1", "1.2.3.4.5.6.7.8.9"}),
    pixel_digests=frozenset({""}),
)


def test_what_stands_for_nothing_raises_no_suspicion(database: Database) -> None:
    assert {kind for kind, _ in NOTHING.kept(KEY, "X1")} == {"patient_id"}
    enrolled(database, "X1", NOTHING)
    assert enrolled(database, "Y2", NOTHING).suspects == ()


def test_traits_are_kept_as_keyed_hashes_alone(database: Database) -> None:
    found = Traits(
        names=frozenset({NAME}),
        study_uids=frozenset({STUDY}),
        frames_of_reference=frozenset({FRAME}),
        pixel_digests=frozenset({"ab" * 32}),
    )
    enrolled(database, "SECRET-7", found)
    with database.read() as tx:
        kept = tx.execute(sa.select(patient_trait.c.kind, patient_trait.c.value)).all()
    assert {kind for kind, _ in kept} == set(people.WORDS)
    said = " ".join(value for _, value in kept).upper()
    assert not [word for word in ("SECRET", "ROE", "JANE", "1956", "3680043", "ABAB") if word in said]


def test_the_traits_of_real_files_are_found_in_header_and_pixels(database: Database, tmp_path: Path) -> None:
    """The same images under another name, ID, study and frame of reference, in other units: the pixels tell."""
    rng = np.random.default_rng(3)
    plain = [replaced_pixels(ds, rng) for ds in small_series(name="Roe^Jane", patient_id="A1")]
    stolen = small_series(name="Doe^Ann", patient_id="B2")
    for ds, original in zip(stolen, plain, strict=True):
        ds.PixelData = original.PixelData
        ds.RescaleSlope, ds.RescaleIntercept = 0.25, 7
    pool = Decoders(1)
    try:
        found = []
        for name, images in (("one", plain), ("other", stolen)):
            built = volume.build(as_files(images, tmp_path / name), pool)
            found.append(traits([built]))
            built.close()
    finally:
        pool.close()
    assert found[0].names == {("Roe^Jane", "19700101", "O")}
    assert found[0].study_uids == {str(plain[0].StudyInstanceUID)}
    assert found[0].frames_of_reference == {str(plain[0].FrameOfReferenceUID)}
    assert len(found[0].pixel_digests) == len(plain)
    assert found[0].pixel_digests == found[1].pixel_digests
    one = enrolled(database, "A1", found[0])
    assert enrolled(database, "B2", found[1]).suspects == (one.patient_row_id,)
    assert "images" in decisions.listing(database, KEY)["suspicions"][0]["because"]


def replaced_pixels(ds: Dataset, rng: np.random.Generator) -> Dataset:
    ds.PixelData = rng.integers(0, 2000, (ds.Rows, ds.Columns), dtype=np.int16).tobytes()
    return ds


def test_blank_slices_and_masks_tell_nothing_and_other_pixels_are_others() -> None:
    rng = np.random.default_rng(5)
    slices = rng.integers(-1000, 3000, (3, 300, 200)).astype(np.float32)
    blank = np.zeros((2, 300, 200), np.float32)
    blank[1, 50:, 50:] = 1
    assert list(pixel_digests(blank)) == []
    changed = slices.copy()
    changed[1, 0, 0] = 5000
    one, other = list(pixel_digests(slices)), list(pixel_digests(changed))
    assert len(set(one)) == 3
    assert [a == b for a, b in zip(one, other, strict=True)] == [True, False, True]
    assert list(pixel_digests(slices * np.float32(0.731) + 7)) == one


# ---------------------------------------------------------------- decisions


def suspects_across(database: Database) -> tuple[Enrolled, Enrolled]:
    (train,), (test,) = ids_in("train"), ids_in("test")
    found = SHARED["study"]
    return enrolled(database, train, found), enrolled(database, test, found)


def test_two_persons_are_used_again_once_somebody_said_so(database: Database) -> None:
    one, other = suspects_across(database)
    said = decisions.apart(database, f"p{one.patient_row_id}", f"p{other.patient_row_id}", "ann")
    assert "two persons" in said
    assert why_held(database, one, other) == [None, None]
    assert again(database, other.patient_row_id, SHARED["study"]).suspects == (), "the same trait is no news"
    with pytest.raises(Refused, match="not-suspected"):
        decisions.apart(database, f"p{one.patient_row_id}", f"p{other.patient_row_id}", "ann")
    again(database, one.patient_row_id, SHARED["images"])
    assert again(database, other.patient_row_id, SHARED["images"]).suspects == (one.patient_row_id,), "this is"
    assert all(why_held(database, one, other))


def test_a_merged_person_has_one_bucket_in_all_rows_and_is_used(database: Database) -> None:
    one, other = suspects_across(database)
    said = decisions.merge(database, Path("nowhere"), f"p{other.patient_row_id}", f"p{one.patient_row_id}", "ann")
    assert said.endswith("in the bucket train"), "that of the one that came first"
    assert why_held(database, one, other) == [None, None]
    later = again(database, other.patient_row_id)
    assert later == replace(one, suspects=())
    with database.read() as tx:
        found = tx.execute(sa.select(patient).order_by(patient.c.id)).mappings().all()
        (pair,) = tx.execute(sa.select(suspicion)).mappings()
    assert [row["alias_of"] for row in found] == [None, one.patient_row_id]
    assert {(row["bucket"], row["pseudonym"]) for row in found} == {("train", one.pseudonym)}
    assert (pair["state"], pair["who"]) == ("same", "ann")
    for decide in (decisions.apart, lambda *a: decisions.merge(a[0], Path("nowhere"), *a[1:])):
        with pytest.raises(Refused, match="same-patient"):
            decide(database, f"p{one.patient_row_id}", f"p{other.patient_row_id}", "ann")


#: buckets of the one that came first and of the other; bucket of the one that was in a data set, its role; the outcome
MERGES: list[tuple[tuple[str, str], tuple[str, str] | None, str]] = [
    (("test", "train"), None, "test"),
    (("train", "test"), None, "train"),
    (("test", "train"), ("train", "train"), "train"),
    (("test", "validation"), ("validation", "validation"), "train"),
    (("train", "test"), ("test", "test"), "train"),
    (("validation", "train"), None, "validation"),
    (("validation", "train"), ("train", "train"), "train"),
    (("validation", "validation"), ("validation", "validation"), "validation"),
    (("test", "test"), ("test", "test"), "test"),
]


def test_who_was_ever_trained_on_is_never_tested_on(database: Database) -> None:
    for case, (buckets, used, wanted) in enumerate(MERGES):
        pair = [enrolled(database, ids_in(name, 2, prefix=f"M{case}P")[n]) for n, name in enumerate(buckets)]
        assert tuple(one.bucket for one in pair) == buckets
        if used is not None:
            was = next(one for one in reversed(pair) if one.bucket == used[0])
            was_in(database, was, used[1], "test" if used[1] == "test" else "training")
        with database.write() as tx:
            merged = people.merge(tx, pair[1].patient_row_id, pair[0].patient_row_id, "ann")
        assert (merged.bucket, merged.pseudonym) == (wanted, pair[0].pseudonym), MERGES[case]
        assert merged.trained_on is (used is not None and used[1] != "test")


def test_a_merge_says_which_verdicts_it_spoils(database: Database, tmp_path: Path) -> None:
    one, other = suspects_across(database)
    was_in(database, one, "train", "training")
    was_in(database, other, "test", "test", "lung")
    said = decisions.merge(database, tmp_path, f"p{one.patient_row_id}", f"p{other.patient_row_id}", "ann")
    assert "test data sets lung 1:" in said


def test_everybody_who_hangs_together_across_buckets_is_kept_out(database: Database) -> None:
    """a and b share a study, b and c a name: a and c may be one through b."""
    train, (test,) = ids_in("train", 2), ids_in("test")
    a = enrolled(database, train[0], SHARED["study"])
    b = enrolled(database, train[1], replace(SHARED["study"], names=frozenset({NAME})))
    assert why_held(database, a, b) == [None, None]
    c = enrolled(database, test, Traits(names=frozenset({NAME})))
    assert all(why_held(database, a, b, c))
    decisions.apart(database, f"p{b.patient_row_id}", f"p{c.patient_row_id}", "ann")
    assert why_held(database, a, b, c) == [None, None, None]


def test_suspicions_of_both_hold_for_a_merged_person(database: Database) -> None:
    one, other = suspects_across(database)
    (third,) = ids_in("validation")
    suspect = enrolled(database, third, Traits(frames_of_reference=frozenset({FRAME})))
    again(database, other.patient_row_id, Traits(frames_of_reference=frozenset({FRAME})))
    decisions.merge(database, Path("nowhere"), f"p{one.patient_row_id}", f"p{other.patient_row_id}", "ann")
    held = why_held(database, one, other, suspect)
    assert all(held)
    assert f"p{one.patient_row_id}" in str(held[2])
    decisions.apart(database, f"p{suspect.patient_row_id}", f"p{one.patient_row_id}", "ann")
    assert why_held(database, one, other, suspect) == [None] * 3


def test_a_row_that_was_merged_before_it_was_learnt_from_gets_its_persons_bucket(database: Database) -> None:
    with database.write() as tx:
        first, second = came(tx, "A1"), came(tx, "B2")
        merged = people.merge(tx, second, first, "ann")
    assert (merged.patient_row_id, merged.bucket) == (first, None)
    found = again(database, second)
    assert (found.patient_row_id, found.pseudonym) == (first, KEY.pseudonym("", "A1"))
    assert again(database, first) == found


def test_decisions_are_recorded_without_patient_data(database: Database) -> None:
    one, other = suspects_across(database)
    decisions.apart(database, f"p{one.patient_row_id}", f"p{other.patient_row_id}", "ann")
    decisions.merge(database, Path("nowhere"), f"p{one.patient_row_id}", f"p{other.patient_row_id}", "bob")
    with database.read() as tx:
        merged, told_apart = events.listing(tx)
        assert events.verify(tx) is None
    assert (told_apart["what"], told_apart["who"]) == ("patients-apart", "ann")
    assert (merged["what"], merged["who"]) == ("patients-merged", "bob")
    assert '"buckets":["train","test"]' in merged["details"]
    (train,), (test,) = ids_in("train"), ids_in("test")
    for one_event in (merged, told_apart):
        assert not any(name in f"{one_event['details']} {one_event['subject']}" for name in (train, test))


def test_a_patient_that_there_is_not(database: Database) -> None:
    """A PatientID may be a number: only the list's names count."""
    one = enrolled(database, "7")
    for name in ("p99", "7", "ID4", "", "p0", "P1", "p1; DROP", "p" + "9" * 30):
        with pytest.raises(Refused, match="no-such-patient"):
            decisions.merge(database, Path("nowhere"), f"p{one.patient_row_id}", name, "ann")


def test_the_list_shows_who_waits_for_a_decision(
    database: Database, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    one, other = suspects_across(database)
    (third,) = ids_in("validation")
    enrolled(database, third, SHARED["name, birth date and sex"])
    everything = decisions.listing(database, KEY)
    (pair,) = everything["suspicions"]
    assert (pair["first"], pair["second"], pair["because"]) == ("p1", "p2", "same study")
    assert pair["state"] == "held"
    assert [row["bucket"] for row in everything["patients"]] == ["train", "test", "validation"]
    assert [bool(row["reason"]) for row in everything["patients"]] == [True, True, False]
    decisions.print_tables(everything)
    assert "planimeter patients merge p1 p2" in " ".join(capsys.readouterr().out.split())
    assert (one.patient_row_id, other.patient_row_id) == (1, 2)


# -------------------------------------------------------------------- races


def at_once(database: Database, asked: list[tuple[Key, int, Traits]]) -> list[Enrolled]:
    """Each in a transaction of its own, begun together."""
    barrier = Barrier(len(asked))

    def enrol(one: tuple[Key, int, Traits]) -> Enrolled:
        key, patient_row_id, found = one
        barrier.wait(30)
        with database.write() as tx:
            return people.enrol(tx, key, SHARES, patient_row_id, found)

    with ThreadPoolExecutor(len(asked)) as pool:
        return list(pool.map(enrol, asked))


def test_two_that_enrol_one_patient_at_once_get_one_answer(database: Database) -> None:
    """As if every process had a key of its own: the first answer stands."""
    with database.write() as tx:
        ids = [came(tx, f"P{n}") for n in range(6)]
    for one in ids:
        found = at_once(database, [(key, one, Traits()) for key in (KEY, OTHER_KEY, KEY, OTHER_KEY)])
        assert len({(answer.bucket, answer.pseudonym) for answer in found}) == 1
        assert again(database, one).pseudonym == found[0].pseudonym


def test_those_that_come_at_once_with_one_trait_are_suspected(database: Database) -> None:
    for n in range(6):
        found = Traits(study_uids=frozenset({f"{STUDY}.{n}"}))
        with database.write() as tx:
            ids = [came(tx, f"P{n}-{side}") for side in ("a", "b", "c")]
        at_once(database, [(KEY, one, found) for one in ids])
        with database.read() as tx:
            pairs = {(row["first_id"], row["second_id"]) for row in rows.suspicions(tx)}
        assert {(ids[0], ids[1]), (ids[0], ids[2]), (ids[1], ids[2])} <= pairs


def test_many_traits_are_kept_and_found(database: Database) -> None:
    """A scan of thousands of slices: more rows than one statement takes."""
    digests = [f"{n:064x}" for n in range(1, 1702)]
    one = enrolled(database, "A1", Traits(pixel_digests=frozenset(digests)))
    other = enrolled(database, "B2", Traits(pixel_digests=frozenset(digests[-1:])))
    assert other.suspects == (one.patient_row_id,)
    with database.read() as tx:
        kept = tx.execute(sa.select(sa.func.count()).select_from(patient_trait)).scalar_one()
    assert kept == len(digests) + 1 + 2, "and a PatientID each"
