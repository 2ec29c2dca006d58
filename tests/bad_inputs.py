"""The bad inputs of a DICOM node, and the tests that show what becomes of each: `python -P -m tests.bad_inputs`."""

from __future__ import annotations

import sys
from dataclasses import dataclass

CONNECTIONS, MESSAGES, DOORS, TLS = "test_bad_connections", "test_bad_messages", "test_doors", "test_tls"
IMAGES, RECEIVING = "test_bad_images", "test_receiving"


@dataclass(frozen=True)
class Case:
    """One kind of bad input.

    Attributes:
        said: what is sent or what happens, and what comes of it.
        tests: module, and the names of tests in it without "test_".
        why_not_both: of a case of the network: why its tests do not run over plain TCP and TLS alike.
    """

    said: str
    tests: dict[str, tuple[str, ...]]
    why_not_both: str = ""


GROUPS = {
    "Transport and upper layer": range(1, 14),
    "Association negotiation": range(14, 22),
    "DIMSE": range(22, 32),
    "Data sets and files": range(32, 46),
    "Pipeline, queue and results": range(46, 59),
}
#: of which each test runs over plain TCP and over TLS
NETWORK = range(1, 32)

FIRST = "what_comes_first_and_is_no_request_is_answered_and_counted"
INSIDE = "what_breaks_the_upper_layer_inside_an_association_is_aborted"
REQUEST = "a_request_is_accepted_rejected_or_aborted"
MESSAGE = "a_message_that_is_wrong_is_answered_and_the_next_is_served"
UNFINISHED = "who_does_not_finish_a_request_is_closed_in_time_and_counted"
LENGTH = "a_length_that_is_announced_is_no_memory_that_is_taken"

CASES: dict[int, Case] = {
    1: Case("A connection without a byte: closed in time, and no association.", {CONNECTIONS: (UNFINISHED,)}),
    2: Case("One byte, then silence: closed in time.", {CONNECTIONS: (UNFINISHED,)}),
    3: Case(
        "200 connections of one address that say nothing: they give way, and a sender of the same address is served.",
        {CONNECTIONS: ("two_hundred_who_say_nothing_keep_nobody_out",)},
    ),
    4: Case(
        "A byte now and then, in the request and in the data: cut off; but not for the time that our own disk stalls.",
        {
            CONNECTIONS: (
                "who_sends_a_byte_now_and_then_is_cut_off",
                "what_came_while_we_were_busy_is_taken_and_who_drips_has_nothing_there",
                "a_disk_that_stalls_again_and_again_is_not_laid_to_the_sender",
            )
        },
    ),
    5: Case("HTTP, SMB, SSH, noise: closed at the first wrong byte.", {CONNECTIONS: (FIRST,)}),
    6: Case(
        "TLS on the plain port, DICOM on the port for TLS, handshakes that stall, old versions, bad certificates: "
        "refused, named, and nobody waits.",
        {
            CONNECTIONS: (FIRST,),
            DOORS: (
                "who_shakes_no_hand_keeps_nobody_waiting",
                "who_does_not_speak_tls_is_closed_and_counted",
                "who_says_nothing_where_tls_is_spoken_is_closed_and_counted",
                "what_is_wrong_is_wrong_over_tls_too",
            ),
            TLS: (
                "a_bad_certificate_gets_no_connection_and_both_sides_are_told_why",
                "what_the_profiles_have_not_is_refused",
                "nothing_is_compressed_resumed_or_negotiated_again",
                "handshakes_that_stall_keep_nobody_out",
            ),
        },
        "it is about the port for TLS itself",
    ),
    7: Case(
        "A PDU of 4 GiB, of 2 GiB, of one byte too many: A-ABORT after its header, and no memory.",
        {CONNECTIONS: (FIRST, INSIDE, LENGTH)},
    ),
    8: Case("PDUs of no length, too short, too long: A-ABORT.", {CONNECTIONS: (FIRST, INSIDE)}),
    9: Case(
        "PDUs of unknown types, and of types that do not belong there: A-ABORT.",
        {CONNECTIONS: (FIRST, INSIDE, "what_comes_after_a_release_is_read_by_nobody")},
    ),
    10: Case(
        "The connection ends at any byte, of the request and of the answers: what was acknowledged is kept, and of the "
        "rest nothing is left.",
        {
            CONNECTIONS: (
                "a_sender_cut_off_at_any_byte_leaves_an_instance_or_nothing",
                "a_sender_that_goes_at_any_byte_of_the_answers_leaves_an_instance",
            )
        },
    ),
    11: Case(
        "1,000 health checks (10,000 in the long form): nothing grows.",
        {CONNECTIONS: ("connections_that_open_and_close_leave_nothing",)},
    ),
    12: Case(
        "More than 1024 open files, and none left: served, and turned away.",
        {CONNECTIONS: ("descriptors_beyond_a_thousand_and_none_at_all",)},
    ),
    13: Case(
        "The clock of the machine is set while objects come: nothing ends.",
        {CONNECTIONS: ("nobody_looks_at_the_time_of_the_day",)},
    ),
    14: Case(
        "Unknown and wrong AE titles, other capitals, other padding, another address: rejected with the reason; who "
        "may send no more while it is connected is answered 0x0124.",
        {
            MESSAGES: ("who_is_let_in_is_named_to_the_letter", "who_may_send_no_more_stores_nothing_more"),
            RECEIVING: (
                "an_unknown_caller_is_rejected_and_told_how_to_get_in",
                "a_known_title_from_another_address_is_rejected_too",
            ),
            "test_who_may_talk": ("over_the_network_the_right_ones_get_in_and_the_others_their_reason",),
        },
    ),
    15: Case(
        "AE titles with NUL, new lines, escapes, of spaces, not ASCII: rejected, and no line of the log breaks.",
        {MESSAGES: (REQUEST, "what_a_caller_says_of_itself_breaks_no_line")},
    ),
    16: Case(
        "No context, 128, even and double IDs, 1000 transfer syntaxes, unknown syntaxes; no application context, "
        "another one, two of them: answered, rejected or aborted.",
        {MESSAGES: (REQUEST, "no_context_and_128_of_them")},
    ),
    17: Case("Lengths that lie inside a request, unknown items, 30,000 of them.", {MESSAGES: (REQUEST,)}),
    18: Case(
        "User identities of every type, with 64 KB and without sense: accepted and not answered, or aborted.",
        {MESSAGES: (REQUEST, "what_is_answered_says_nothing_of_what_is_not_offered")},
    ),
    19: Case(
        "The peer takes PDUs of 0, 1, 6, 7 bytes, or 4 GiB: what we send fits, or it is rejected.",
        {MESSAGES: (REQUEST, "answers_are_no_longer_than_the_peer_takes")},
    ),
    20: Case(
        "Asynchronous operations, roles, extended negotiation without sense.",
        {MESSAGES: (REQUEST, "what_is_answered_says_nothing_of_what_is_not_offered")},
    ),
    21: Case(
        "One association too many: rejected for now, and a place that is free is taken.",
        {CONNECTIONS: ("associations_do_not_give_way_and_one_more_is_told_to_come_again",)},
    ),
    22: Case(
        "PDVs of 0 and 1 bytes, longer than their PDU, in contexts that nobody agreed on: A-ABORT.",
        {CONNECTIONS: (INSIDE,), MESSAGES: (MESSAGE,)},
    ),
    23: Case(
        "Data before a command, commands inside data, messages and contexts mixed: A-ABORT.", {MESSAGES: (MESSAGE,)}
    ),
    24: Case(
        "Messages without end, thousands of tiny fragments, commands of more than 64 KB: A-ABORT.",
        {MESSAGES: (MESSAGE, "a_message_that_never_ends_is_aborted")},
    ),
    25: Case(
        "Unknown operations, responses to nothing, a thousand C-CANCEL: a status or A-ABORT.", {MESSAGES: (MESSAGE,)}
    ),
    26: Case(
        "Elements of a command that are missing, empty, or there twice: a status or A-ABORT.",
        {MESSAGES: (MESSAGE, "a_refusal_says_which_message_it_answers")},
    ),
    27: Case(
        "UIDs with paths, dots, NUL, letters, 65 characters: refused, and no path is made of any.",
        {MESSAGES: ("no_uid_is_more_than_a_name", "padding_is_no_part_of_a_uid")},
    ),
    28: Case(
        "Another instance or class in the data set than in the command; file meta inside it: refused.",
        {MESSAGES: (MESSAGE,)},
    ),
    29: Case(
        "The same UID at once from many senders, with the same and with other bytes: one instance, or all revisions.",
        {
            RECEIVING: (
                "one_instance_from_many_senders_at_once_is_one_row",
                "revisions_from_many_senders_at_once_are_all_kept",
            ),
            "test_group_commit": ("the_same_instance_twice_in_one_batch_is_one_row_and_one_file",),
        },
        "what is tried begins behind the line, in the way into the store",
    ),
    30: Case(
        "Objects that are too large, of no and of one byte, 100 on one association (100,000 in the long form).",
        {MESSAGES: (MESSAGE, "many_instances_on_one_association")},
    ),
    31: Case(
        "Senders that ignore failures, go after each answer, release inside an object.",
        {
            MESSAGES: (
                "a_sender_that_waits_for_no_answer_gets_every_answer",
                "a_sender_that_drops_the_connection_after_each_answer_is_served",
                "a_release_inside_an_object_is_a_release_without_it",
                "an_object_may_come_in_pieces_of_any_size",
            )
        },
    ),
    32: Case(
        "Cut at every byte of the last 2 KB: refused.", {IMAGES: ("32_truncated_at_every_offset_of_the_last_2_kb",)}
    ),
    33: Case(
        "Lengths that do not fit.",
        {
            IMAGES: ("33_lengths_that_do_not_fit",),
            "test_found_by_fuzzing": (
                "an_element_behind_the_end_of_its_item_is_malformed",
                "by_its_first_element_an_item_is_implicit_throughout",
                "a_value_representation_that_nobody_knows_is_malformed",
            ),
        },
    ),
    34: Case(
        "Sequences without bottom, a million elements, a Patient ID of gigabytes, a report of a million items: refused "
        "before any of it is decoded.",
        {
            IMAGES: ("34_sequences_without_bottom_and_elements_without_end",),
            "test_whole_data_sets": (
                "bottomless_sequences_are_refused_without_recursion",
                "what_is_read_of_an_object_is_bounded_before_it_is_copied",
                "equipment_without_end_is_refused_before_any_of_it_is_decoded",
                "items_are_counted_wherever_they_lie",
            ),
            "test_kept_objects": ("a_text_that_no_index_takes_is_refused_and_not_blamed_on_the_database",),
            "test_found_by_fuzzing": ("a_report_that_is_longer_than_any_answer_is_not_decoded",),
        },
    ),
    35: Case(
        "A few bytes that would be gigabytes: refused before they are unpacked.",
        {
            IMAGES: ("35_a_few_bytes_that_would_be_gigabytes",),
            "test_decoding": ("a_bomb_that_the_header_agrees_with_ends_at_the_limits_of_the_child",),
        },
    ),
    36: Case("Numbers that describe no image.", {IMAGES: ("36_numbers_that_describe_no_image",)}),
    37: Case("Pixels that are not what is declared.", {IMAGES: ("37_pixels_that_are_not_what_is_declared",)}),
    38: Case("Another encoding than the label says.", {IMAGES: ("38_another_encoding_than_the_label_says",)}),
    39: Case("Character sets, unknown, wrong, unterminated.", {IMAGES: ("39_character_sets",)}),
    40: Case(
        "A preamble that is a program.",
        {IMAGES: ("40_a_preamble_that_is_a_program",), RECEIVING: ("a_preamble_that_is_a_program_does_not_survive",)},
    ),
    41: Case(
        "Texts that somebody might carry out: HTML, SQL, formulas, escapes.",
        {
            IMAGES: ("41_texts_that_somebody_might_carry_out",),
            "test_pages": ("no_string_of_a_header_is_more_than_text_on_any_page",),
        },
    ),
    42: Case("Objects that are no images.", {IMAGES: ("42_objects_that_are_no_images",)}),
    43: Case(
        "Geometry that is no volume; 5,000 slices.",
        {IMAGES: ("43_geometry_that_is_no_volume", "43_five_thousand_slices")},
    ),
    44: Case("Identities that contradict each other.", {IMAGES: ("44_identities_that_contradict_each_other",)}),
    45: Case("Results that come back make no work.", {IMAGES: ("45_results_that_come_back_make_no_work",)}),
    46: Case(
        "kill -9 of receivers and workers at every step: nothing is lost, every result arrives once.",
        {
            "test_crashes": (
                "kills_of_the_receiver_lose_nothing_that_was_acknowledged",
                "killed_between_the_file_and_its_row_the_sender_sends_again_and_the_leftover_goes",
                "a_worker_killed_at_any_step_of_a_job_leaves_every_result_to_arrive_once",
            ),
            "test_receivers": ("a_receiver_that_is_killed_takes_nothing_but_its_own_associations_with_it",),
        },
    ),
    47: Case(
        "Full, broken and read-only disks, quotas, no more files or inodes: no Success and no loss. A stored file that "
        "was harmed: made good by whoever sends it again.",
        {
            "test_kept_objects": (
                "a_harmed_file_is_made_good_by_whoever_sends_the_object_again",
                "an_error_that_may_pass_harms_no_file",
            ),
            "test_disk_errors": (
                "a_call_that_fails_is_no_success_and_no_loss",
                "a_disk_that_does_not_say_what_is_free_takes_nothing_and_ends_no_association",
                "a_disk_that_does_not_say_what_is_free_lets_in_nobody_who_would_send",
                "where_no_connection_can_be_accepted_the_next_one_is",
            ),
            "test_disk_full": (
                "a_disk_that_goes_read_only_is_no_success_and_no_loss",
                "who_cannot_be_served_is_told_so",
                "a_disk_without_any_room_and_without_marks_is_no_success_and_no_loss",
                "a_disk_with_room_for_an_image_and_none_for_its_row_is_no_success_and_no_loss",
            ),
        },
    ),
    48: Case(
        "The database is down at the start or later, slow, read-only, out of connections, or newer.",
        {
            "test_database_trouble": (
                "where_no_connection_is_left_a_sender_comes_again",
                "a_database_that_takes_no_writes_is_one_that_is_away",
                "a_slow_database_is_waited_for",
                "a_database_that_is_down_at_the_start_is_said_in_a_sentence",
            ),
            RECEIVING: ("a_database_that_is_away_is_out_of_resources_and_not_the_objects_fault",),
            "test_schema": ("a_database_of_a_newer_planimeter_is_refused",),
        },
    ),
    49: Case(
        "Networks that run out of memory, poison the device, hang, die, give NaN.",
        {
            "test_host_faults": ("every_fault_has_its_outcome_and_the_next_study_is_done",),
            "test_model_host": (
                "a_network_that_hangs_is_stopped_and_the_next_one_runs",
                "numbers_that_are_none_are_refused",
            ),
        },
    ),
    50: Case(
        "A study at which every worker dies: so many attempts, then it is dead, and the others go on.",
        {
            "test_job_queue": (
                "attempts_are_bounded_and_then_the_job_is_dead_and_says_why",
                "a_worker_that_dies_every_time_makes_the_job_dead_too",
            )
        },
    ),
    51: Case(
        "A PACS that is down, refuses, warns, has it already, has no room, aborts, never answers or too late.",
        {
            "test_delivery": (
                "what_a_status_means",
                "a_warning_and_a_duplicate_are_delivered_and_shown",
                "a_refused_class_is_a_dead_letter_and_the_rest_goes",
                "a_pacs_that_knows_only_implicit_vr_gets_it",
                "an_abort_is_tried_again",
                "a_pacs_that_answers_when_nobody_waits_any_more_is_asked_again",
                "a_pacs_without_room_uses_up_no_attempt_however_long_it_has_none",
                "a_pacs_that_is_away_uses_up_no_attempt_and_gets_everything_when_it_is_back",
            ),
            "test_stow": ("a_server_that_never_answers_is_tried_again",),
        },
    ),
    52: Case(
        "A result that is sent again after a crash: the same UIDs and bytes.",
        {"test_crashes": ("a_worker_killed_at_any_step_of_a_job_leaves_every_result_to_arrive_once",)},
    ),
    53: Case(
        "Weights that were changed, cut, a program, or lie about their size: refused before anything is run.",
        {
            "test_model_host": (
                "a_bundle_that_is_not_what_its_card_says_is_not_even_parsed",
                "a_changed_bundle_does_not_start",
            ),
            "test_hostile_bundles": ("weights_that_are_none_are_refused_and_nothing_is_run",),
        },
    ),
    54: Case(
        "Configuration: unknown keys, ports that are taken, secrets that others may read, programs and bombs in "
        "bundles, names that are paths.",
        {
            "test_settings": ("a_mistake_is_answered_with_file_line_and_key",),
            "test_command_line": ("a_mistake_in_the_settings_stops_every_command", "a_port_that_is_taken_is_said"),
            TLS: ("files_that_cannot_be_used_are_refused_with_what_is_wrong",),
            "test_confinement": ("what_a_bundle_tries_while_it_is_parsed_is_denied",),
            "test_model_host": ("a_wrong_card_is_refused_and_names_the_key",),
            "test_hostile_bundles": ("yaml_that_stands_for_more_than_memory_holds_is_refused",),
        },
    ),
    55: Case(
        "STOW-RS from outside does not exist: the node takes no DICOMweb. What it reads of DICOMweb servers is tried "
        "instead, and so are uploads through the pages.",
        {
            "test_fuzz": ("nothing_is_found_in_any_reader",),
            "test_found_by_fuzzing": (
                "json_that_is_nested_deeply_is_no_answer",
                "a_reason_that_is_none_is_no_reason_and_no_success",
            ),
            "test_trying_out": (
                "a_bomb_is_stopped_whatever_it_says_of_its_size",
                "there_is_an_end_of_room_and_of_disk",
            ),
            "test_sign_in": ("too_much_at_once_is_not_read",),
        },
    ),
    56: Case(
        "Pages: forms of other sites, foreign names, guessed passwords, planted sessions, paths, scripts in names, "
        "metrics without a token.",
        {
            "test_attacks": (
                "a_form_of_another_origin_changes_nothing",
                "a_script_of_another_origin_reads_nothing",
                "a_name_that_is_bound_to_our_address_is_not_ours",
            ),
            "test_sign_in": (
                "guessing_gets_slower_and_unknown_names_are_answered_alike",
                "a_planted_session_is_never_anybodys",
                "a_form_without_its_token_or_from_another_site_does_nothing",
                "too_much_at_once_is_not_read",
            ),
            "test_pages": ("no_string_of_a_header_is_more_than_text_on_any_page",),
            "test_metrics": ("an_empty_token_opens_nothing",),
        },
    ),
    57: Case(
        "Two nodes on one folder or database: the second is refused, or they work together by leases.",
        {
            "test_machines": (
                "a_second_node_on_the_same_folder_is_refused",
                "one_acts_and_another_one_takes_over_when_it_ends_or_dies",
                "sqlite_is_for_one_machine",
            ),
            RECEIVING: ("two_nodes_may_share_a_database",),
        },
    ),
    58: Case(
        "Stopped while objects come: who ends soon is waited for, the others are aborted, and what was acknowledged is "
        "kept.",
        {
            DOORS: (
                "when_it_is_stopped_associations_are_aborted_and_nothing_is_left",
                "who_ends_by_itself_is_waited_for",
            ),
            "test_end_to_end": ("sigterm_ends_everything_cleanly",),
        },
    ),
}


BEGINNING = """
# Bad inputs

What is sent to a node by mistake or on purpose, and what may go wrong around it: 58 cases, each with the tests that
show what becomes of it. After nearly each test of the network another sender stores an object, and threads, sockets
and files of the spool are as they were before (`tests/doors.py`).

Each of the cases 1 to 31 has tests that run over plain TCP and over TLS, but where the table says why not; some have
further ones that run over one of both. This page is made of
`tests/bad_inputs.py`, and a test holds that every test exists.
"""
END = """
## Fuzzing

`make fuzz` hands spoilt inputs, as many as one likes, to everything that reads bytes of strangers: PDUs, association
requests, command sets, messages, data sets, files, multipart and JSON answers, reports, contours, codestreams, texts.
What is accepted is held against pydicom or pynetdicom, where they read it too; time and memory are bounded; and every
reader is seen to fail with a fault that was planted in it (`tests/fuzz`). What was found stays in
`tests/test_found_by_fuzzing.py`. `make test` runs 1,000 inputs for each reader.
"""


def page() -> str:
    """docs/bad-inputs.md."""
    parts = [BEGINNING.strip()]
    for title, numbers in GROUPS.items():
        rows = [f"| {number} | {_said(CASES[number])} | {_tests(CASES[number])} |" for number in numbers]
        parts += [f"## {title}", "\n".join(["| case | what comes of it | tests |", "|---|---|---|", *rows])]
    return "\n\n".join([*parts, END.strip()]) + "\n"


def _said(case: Case) -> str:
    return case.said + (f" (Not over both: {case.why_not_both}.)" if case.why_not_both else "")


def _tests(case: Case) -> str:
    return "<br>".join(
        f"`{module}`: {', '.join(name.replace('_', ' ') for name in names)}" for module, names in case.tests.items()
    )


if __name__ == "__main__":
    sys.stdout.write(page())
