"""The table of faults: each with the tests that inflict it, and how often."""

from __future__ import annotations

from dataclasses import dataclass

SEARCH = "tests/search_tests"
ENGINE = f"{SEARCH}/engine"
STUDY = f"{SEARCH}/study"
CIFAR = "tests/cifar_tests"


@dataclass(frozen=True)
class Row:
    """A kind of fault."""

    fault: str
    """What goes wrong, in a few words."""
    tests: tuple[str, ...]
    """Pytest's names of the tests that inflict it: files, or tests in them."""
    times: int = 1
    """How often they are run."""


ROWS = {
    1: Row(
        "SIGKILL in a search",
        (
            "tests/faults/test_kills.py::test_a_search_that_is_killed_loses_no_finished_trial",
            "tests/faults/test_kills.py::test_a_search_that_is_killed_between_two_things_goes_on",
            "tests/faults/test_kills.py::test_a_trial_that_was_to_be_queued_again_is",
        ),
    ),
    2: Row("SIGINT, SIGTERM, once and twice", (f"{ENGINE}/test_stopping.py",), 7),
    3: Row(
        "SIGKILL while a checkpoint is written",
        (
            "tests/faults/test_kills.py::test_every_checkpoint_that_is_there_can_be_read",
            "tests/faults/test_kills.py::test_long_trials_are_saved_between_rungs",
        ),
    ),
    4: Row(
        "resume after each epoch, to the last bit",
        (
            f"{ENGINE}/test_pausing.py::test_pausing_after_every_epoch_changes_nothing",
            f"{SEARCH}/retraining/test_retrain_and_submit.py::test_a_killed_run_ends_in_the_same_weights",
            f"{SEARCH}/retraining/test_training_loop.py::test_a_run_that_is_killed_goes_on_from_its_last_checkpoint",
        ),
    ),
    5: Row("disk full", ("tests/faults/test_full_disk.py",)),
    6: Row(
        "processes on one study at once",
        (f"{STUDY}/test_several_calls.py", f"{STUDY}/test_storage.py::test_several_processes_may_create_it_at_once"),
        10,
    ),
    7: Row(
        "damaged stores and checkpoints",
        (
            "tests/faults/test_damage.py",
            f"{ENGINE}/test_pausing.py::test_a_trial_whose_checkpoint_is_lost_is_trained_from_the_start",
            f"{CIFAR}/test_checkpoint.py",
        ),
    ),
    8: Row(
        "malicious and malformed pickles, bombs",
        ("tests/faults/test_bombs.py", f"{CIFAR}/safe_pickle/test_safe_pickle.py"),
    ),
    9: Row(
        "malformed command lines, recipes, spaces",
        (
            f"{SEARCH}/test_malformed.py",
            f"{SEARCH}/test_config_file.py",
            f"{CIFAR}/test_recipe.py",
            "tests/spaces_tests/test_spaces.py::test_wrong_references_are_refused",
            "tests/spaces_tests/test_spaces.py::test_what_is_no_search_space_is_refused_in_one_line",
        ),
    ),
    10: Row(
        "trials that fail, hang or lose their worker",
        (f"{ENGINE}/test_failures.py", f"{ENGINE}/test_worker_losses.py"),
    ),
    11: Row(
        "what changes under an existing study",
        (
            f"{STUDY}/test_changes.py",
            f"{SEARCH}/test_search.py::test_a_study_does_not_continue_under_other_rules",
            f"{SEARCH}/test_search.py::test_a_study_does_not_continue_with_other_images",
        ),
    ),
    12: Row("random configurations of every space", ("tests/faults/test_configurations.py",)),
    13: Row(
        "flipped bits in images, cache and weights",
        (
            f"{CIFAR}/test_checkpoint.py",
            f"{CIFAR}/data/test_data.py::test_flipped_bytes",
            f"{CIFAR}/data/test_data.py::test_damaged_cache_is_rebuilt",
            f"{CIFAR}/data/test_data.py::test_damaged_download_is_refused_and_not_kept",
        ),
    ),
    14: Row("requests to the dashboard from elsewhere", (f"{SEARCH}/test_dashboard.py",)),
    15: Row(
        "passwords in storage URLs, tokens in the environment",
        (
            f"{STUDY}/test_storage.py::test_no_storage_is_told_in_one_line_without_its_password",
            f"{STUDY}/test_storage.py::test_a_password_is_in_nothing_that_a_search_prints_or_writes",
            f"{STUDY}/test_storage.py::test_misplaced_urls_are_told_without_their_password",
            f"{STUDY}/test_storage.py::test_a_token_in_the_environment_is_in_nothing_that_commands_print_or_write",
        ),
    ),
    16: Row("trainers without checkpoints, folders out of sight", (f"{STUDY}/test_checkpoints.py",)),
    17: Row("kernels and files that others may write", (f"{CIFAR}/networks/test_kernels.py", f"{CIFAR}/test_files.py")),
    18: Row("a day in fast motion", ("tests/faults/test_day.py",)),
}
"""By their number in the table of docs/reliability.md."""
