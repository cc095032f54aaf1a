"""`python -m search.run`: searches a space; given again, the command continues where it stopped."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from search.cli import Parser, counts, duration, natural, non_negative, non_negative_count, positive, run_command
from search.config_file import parse_with_file
from search.settings import DEFAULT_SPACE, ENGINES, PRUNERS, SAMPLERS, SearchSettings, StudyError, WorkerChoice


def parser() -> Parser:
    """The command's options."""
    p = Parser(
        "run",
        "Search networks and training settings under hard limits; the same command again continues.",
        (
            "--time-budget 15m --retrain",
            "--study pictures --data my_folders --split 0.8 --param-budget 300k --trials 30",
        ),
    )
    for add in (_add_what, _add_length, _add_limits, _add_training, _add_choice, _add_machine, _add_ray, _add_output):
        add(p)
    return p


def _add_what(p: Parser) -> None:
    p.group("what is searched")
    p.add_argument(
        "--config",
        type=Path,
        help="TOML file of options by their long names, such as the study.toml that each study writes to be repeated; "
        "the command line wins",
    )
    p.add_argument(
        "--space",
        help=f"built-in name, package.module:attribute, or a Python file (default: the study's; {DEFAULT_SPACE} for a "
        "new one)",
    )
    p.add_argument("--study", help="name of the study (default: after the space)")
    p.add_argument("--storage", help="Optuna storage URL or journal file (default: studies/<study>/study.db)")
    p.add_argument(
        "--checkpoints",
        help="folder for the states of paused trials, shared by all machines that work on the study, or a URL such as "
        "s3://bucket/folder (default: as the study began; studies/<study>/checkpoints for a new one)",
    )
    p.add_argument(
        "--data",
        help="images: official folder or archive, image-folder tree or archive of one, or .npz "
        "(default: the study's, else CIFAR_DATA, else official CIFAR-10, downloaded once)",
    )
    p.add_split_option()


def _add_length(p: Parser) -> None:
    p.group("how long")
    p.add_argument(
        "--time-budget",
        type=duration,
        help="stop after this long, such as 10m or 1h30m; plans the rungs to fit",
    )
    p.add_switch(
        "retrain",
        "use the time budget for all of it: the search, where the time is enough the finals of the best trials at "
        "greater length, and the training of the winner on all images, reported on the test images",
    )
    p.add_argument(
        "--trials",
        type=natural,
        help="stop at this many trials of the study in all (default: 50 without a time budget)",
    )
    p.add_argument(
        "--epoch-budget", type=natural, help="stop when the trials of this call have trained this many epochs"
    )
    p.add_argument(
        "--trial-timeout",
        type=duration,
        help="fail a trial whose epoch has not ended after this long, such as 10m, set-up included; a trial that hangs "
        "is ended so (default: no limit)",
    )


def _add_limits(p: Parser) -> None:
    p.group("hard limits of every network")
    p.add_argument(
        "--param-budget",
        type=counts,
        help="most parameters, such as 300k (default: the space's own); or several limits, such as 300k,1M,5M: each "
        "trial draws one, and the report shows the best of each. Sampler and promotion compare all trials, so that "
        "larger limits, where accuracy is higher, get more of the training",
    )
    p.add_argument(
        "--mac-budget",
        type=non_negative_count,
        help="most multiply-accumulates an image, such as 40M; 0 is no limit "
        "(default: proposed for this machine if time is short)",
    )


def _add_training(p: Parser) -> None:
    p.group("how trials are trained and compared")
    p.add_argument("--min-epochs", type=natural, help="epochs of the first rung (default: planned)")
    p.add_argument("--max-epochs", type=natural, help="epochs of a full trial (default: planned)")
    p.add_argument(
        "--eta",
        type=natural,
        help="reduction factor: one of eta trials is trained beyond each rung (default: 2 for promotion, else 3)",
    )
    p.add_argument(
        "--train-size",
        type=natural,
        help="training images an epoch, a fixed stratified subset (default: planned)",
    )
    p.add_argument(
        "--val-size",
        type=natural,
        help="training images kept for validation (default: a tenth, 5,000 at most; a fifth below 5,000 images)",
    )


def _add_choice(p: Parser) -> None:
    p.group("how trials are chosen")
    p.add_argument(
        "--objective",
        type=objectives,
        help="accuracy, or accuracy and one of parameters, macs and latency, such as accuracy,parameters: the trials "
        "that none beats in both are searched, and reported as the front. Latency is measured on this device: the "
        "time for one image counts, that for 128 is kept beside it (default: as the study began; accuracy for a new "
        "one)",
    )
    p.add_argument("--sampler", choices=SAMPLERS, default="tpe", help="how trials are proposed")
    p.add_argument("--pruner", choices=PRUNERS, default="promotion", help="which trials are trained beyond a rung")
    p.add_argument(
        "--prior",
        help="where good candidates are expected, and most proposals are drawn at first: space (its own), none, or "
        "study:NAME, the best trial of that study (default: as the study began; space for a new one)",
    )
    p.add_switch("warm-start", "try known good points first", default=True)
    p.add_switch("replicate", "train an exact repeat again, with another seed, not reuse its result")


def _add_machine(p: Parser) -> None:
    p.group("on this machine")
    p.add_argument(
        "--seed", type=int, help="of the sampler and the trials (default: as the study began; 0 for a new one)"
    )
    p.add_device_option()
    p.add_argument(
        "--workers",
        type=workers,
        default="usual",
        help="processes that run trials side by side; auto measures which number trains most (default: one a GPU; on "
        "a CPU one a core for a time budget of ten minutes or more, else one in all)",
    )
    p.add_switch("deterministic", "equal seeds give equal weights")


def _add_ray(p: Parser) -> None:
    p.group("on a Ray cluster")
    p.add_argument(
        "--engine",
        choices=ENGINES,
        default="local",
        help="what runs the trials: processes on this machine, or Ray Tune on this machine or a cluster",
    )
    p.add_argument(
        "--address",
        help="of the Ray cluster: host:port, or auto for the one that this machine is in "
        "(default: start Ray on this machine alone)",
    )
    p.add_argument("--cpus-per-trial", type=positive, default=1.0, help="CPUs that Ray keeps for each trial")
    p.add_argument(
        "--gpus-per-trial",
        type=non_negative,
        help="GPUs that Ray keeps for each trial: a share of one, such as 0.25, or a whole number "
        "(default: 1 where the cluster has any)",
    )
    p.add_argument(
        "--max-concurrent",
        type=natural,
        help="most trials that Ray trains side by side (default: as many as have room)",
    )


def _add_output(p: Parser) -> None:
    p.group("what is printed")
    shown = p.choice_of_one()
    shown.add_argument("-q", "--quiet", action="store_true", help="print only the result, in one line, and errors")
    shown.add_argument("-v", "--verbose", action="store_true", help="print a line an epoch in a terminal too, no table")
    shown.add_argument("--json", action="store_true", help="print a JSON object a line, for programs")


def objectives(text: str) -> tuple[str, ...]:
    """Names with commas between."""
    return tuple(name.strip() for name in text.split(","))


def workers(text: str) -> int | WorkerChoice:
    """A number of workers, or how it is chosen."""
    choices: dict[str, WorkerChoice] = {"auto": "measured", "measured": "measured", "usual": "usual"}  # as parsed, too
    return choices.get(text) or natural(text)


def main(argv: Sequence[str] | None = None) -> None:
    """Parses, searches, prints the best trial and what to do next."""
    arguments = sys.argv[1:] if argv is None else argv
    args = vars(parse_with_file(parser(), arguments))
    del args["config"]
    shown = {name: args.pop(name) for name in ("quiet", "verbose", "json")}
    space, limits = args.pop("space"), args.pop("param_budget") or ()
    args |= {"param_budgets": limits} if len(limits) > 1 else {"param_budget": next(iter(limits), None)}
    args["objective"] = args["objective"] or ()
    asked = args["workers"]
    if args["engine"] == "ray" and isinstance(asked, int) and asked > 1:
        rule = "--workers is for processes on this machine; Ray takes as many trials as have room"
        raise StudyError(rule, got=asked, remedy="Give --max-concurrent instead")
    given = isinstance(asked, int)
    args |= {"workers": asked if given else 1, "worker_choice": "given" if given else asked}
    settings = SearchSettings(max_trials=args.pop("trials"), **args, space=space or DEFAULT_SPACE)
    from search.finish import finish_search
    from search.reporting.screen.terminal import choose_display
    from search.session import run_search
    from search.study.study import as_begun

    settings = as_begun(settings, space=space is None and settings.study is not None)
    display = choose_display(**shown)
    try:
        study = run_search(settings, display)
        outcome = finish_search(study, settings, display) if settings.retrain else None
    except KeyboardInterrupt:
        display.say("stopped; nothing is lost, and the same command continues")
        raise
    display.end(study, settings, arguments, outcome)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
