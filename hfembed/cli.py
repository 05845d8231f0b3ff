"""The commands: one per stage, and run, status, presets, compare. Every command takes --format json."""

from __future__ import annotations

import contextlib
import webbrowser
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from hfembed import (
    __version__,
    cli_deploy,
    cli_domains,
    cli_elsewhere,
    cli_engine,
    cli_generator,
    cli_hub,
    cli_index,
    cli_launch,
    cli_presets,
    cli_serve,
    cli_space,
)
from hfembed.cli_base import Format, FormatOption, command_errors, from_anywhere, prepare_process, run_name
from hfembed.engine import EngineName
from hfembed.errors import RunMismatchError

STAGE_NAMES = ("pull", "generate", "mine", "train", "evaluate", "export", "push")

StageName = StrEnum("StageName", {name.upper(): name for name in STAGE_NAMES})  # type: ignore[misc]


app = typer.Typer(
    help="Turn a corpus into an embedding model that is proven better on it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)

SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change one setting; can be repeated."),
]
MaxCostOption = Annotated[
    float | None,
    typer.Option(metavar="SUM", help="The most it may cost: the machine, where one is paid for, and the queries."),
]
TasksOption = Annotated[
    str | None, typer.Option(metavar="A,B", help="Public tasks of mteb to score too, for instance NFCorpus,SciFact.")
]
BenchmarkOption = Annotated[
    str | None, typer.Option(metavar="NAME", help='A benchmark of mteb to score too, as "MTEB(Medical, v1)".')
]
PairsOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Questions by people, with their answers, to be learned from.")
]
CollectionOption = Annotated[
    str | None,
    typer.Option(metavar="ORG/TITLE", help="Group what is pushed in a collection; true: named as the model."),
]
RunArgument = Annotated[Path, typer.Argument(metavar="DIR", help="The run folder.")]
RECIPES = (".yaml", ".yml")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hfembed {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    source: Annotated[
        str | None, typer.Argument(metavar="[SRC|RECIPE.yaml]", help="A corpus, as for --corpus, or a recipe file.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="The preset to start from; see hfembed presets.")] = None,
    corpus: Annotated[
        str | None,
        typer.Option(metavar="SRC", help="A file, a folder, org/name[:config][@revision] on the Hub, or hf:// files."),
    ] = None,
    base: Annotated[
        str | None, typer.Option(metavar="MODEL", help="The model to start from: a folder or a Hub id.")
    ] = None,
    run_folder: Annotated[
        Path | None,
        typer.Option("--run", metavar="DIR", help="The run folder; repeat it to continue. Default: runs/NAME."),
    ] = None,
    until: Annotated[StageName | None, typer.Option(help="The last stage to do.")] = None,
    rerun: Annotated[StageName | None, typer.Option(help="Redo this stage and all that follow.")] = None,
    tasks: TasksOption = None,
    benchmark: BenchmarkOption = None,
    max_cost: MaxCostOption = None,
    pairs: PairsOption = None,
    dev_queries: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Questions by people, with their answers; these choose most.")
    ] = None,
    settings: SetOption = None,
    model_repo: Annotated[str | None, typer.Option(metavar="ORG/NAME", help="Push the model there.")] = None,
    dataset_repo: Annotated[str | None, typer.Option(metavar="ORG/NAME", help="Push the triplets there.")] = None,
    collection: CollectionOption = None,
    on: cli_elsewhere.OnOption = None,
    resume: cli_elsewhere.ResumeOption = None,
    detach: cli_elsewhere.DetachOption = False,
    yes: cli_elsewhere.YesOption = False,
    again: cli_elsewhere.AgainOption = False,
    keep: cli_elsewhere.KeepOption = False,
    timeout: cli_elsewhere.TimeoutOption = None,
    namespace: cli_elsewhere.NamespaceOption = None,
    token_from: cli_elsewhere.TokenOption = None,
    engine: cli_engine.EngineOption = EngineName.LOCAL,
    ray_address: cli_engine.AddressOption = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Do every stage that is not done yet: pull, generate, mine, train, evaluate, export, push."""
    wishes = cli_elsewhere.Wishes(
        detach=detach, yes=yes, again=again, timeout=timeout, namespace=namespace, token_from=token_from,
        max_cost=max_cost, keep=keep,
    )  # fmt: skip
    with command_errors(output), cli_engine.working_with(engine, ray_address, on or resume):
        if resume is not None:
            said = (source, preset, corpus, base, until, rerun, tasks, benchmark, pairs, dev_queries, settings)
            cli_launch.refuse_changes(said, model_repo, dataset_repo, collection)
            cli_launch.resume(resume, on, run_folder, wishes, output)
            return
        from hfembed import pipeline, terminal
        from hfembed.errors import InputError
        from hfembed.recipe import make_recipe
        from hfembed.run import LAYOUT, Run

        recipe, corpus = _recipe_or_corpus(source, corpus)
        if run_folder is not None and not any((recipe, preset, corpus)):
            begun = Run(run_folder).path(LAYOUT.recipe)
            recipe = begun if begun.is_file() else None  # it goes on as it was begun
        options = {
            "corpus": corpus,
            "base": base,
            "push.model_repo": model_repo,
            "push.dataset_repo": dataset_repo,
            "push.collection": collection,
            "generate.llm.max_cost": None if on else max_cost,  # elsewhere the machine comes first
            "generate.pairs": _absolute(pairs),
            "train.dev_queries": _absolute(dev_queries),
            **_public_tasks(tasks, benchmark),
        }
        resolved = from_anywhere(make_recipe(preset, recipe, settings or [], options))
        if resolved.corpus is None:
            raise InputError("No corpus is named.", "hfembed run PATH, or hfembed run org/name for a Hub dataset.")
        _check_public_tasks(resolved)
        target = Run(run_folder or Path("runs") / run_name(resolved.corpus, resolved.preset))
        terminal.words.print(f"[dim]run folder: {target.folder}[/]")
        if on is not None:
            cli_launch.start(resolved, target, on, until, rerun, wishes, output)
            return
        with terminal.screen() as listener:
            worked = pipeline.run(resolved, target, until=until, rerun=rerun, listeners=[listener])
        if not worked:
            terminal.words.print("Everything was already done: no work, the results stand.")
        _show_run(target, worked, output)


def _stage_command(name: str, summary: str, *, spread: bool = False) -> None:
    """Make the command of a stage. spread: whether it has work that an engine can spread."""

    def command(folder: RunArgument, settings: SetOption = None, output: FormatOption = Format.TEXT) -> None:
        _run_stage(name, folder, settings or [], output)

    def spreading(
        folder: RunArgument,
        settings: SetOption = None,
        engine: cli_engine.EngineOption = EngineName.LOCAL,
        ray_address: cli_engine.AddressOption = None,
        output: FormatOption = Format.TEXT,
    ) -> None:
        with command_errors(output), cli_engine.working_with(engine, ray_address):
            _run_stage(name, folder, settings or [], output)

    chosen = spreading if spread else command
    chosen.__doc__ = summary
    app.command(name)(chosen)


_stage_command("pull", "Bring the corpus into the run.")


@app.command()
def generate(
    folder: Annotated[Path | None, typer.Argument(metavar="DIR", help="The run folder.")] = None,
    preview: Annotated[bool, typer.Option("--preview", help="Show the queries of a few documents, and stop.")] = False,
    documents: Annotated[int, typer.Option("--documents", min=1, help="Documents to preview.")] = 5,
    corpus: Annotated[str | None, typer.Option(metavar="SRC", help="Preview this corpus, without a run.")] = None,
    max_cost: MaxCostOption = None,
    pairs: PairsOption = None,
    prompts: Annotated[bool, typer.Option("--prompts", help="Print the folder of the prompts, and stop.")] = False,
    settings: SetOption = None,
    engine: cli_engine.EngineOption = EngineName.LOCAL,
    ray_address: cli_engine.AddressOption = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Make queries for the documents, split into train, dev and test."""
    options = {"generate.llm.max_cost": max_cost, "generate.pairs": _absolute(pairs)}
    if prompts:
        _show_prompts(output)
    elif preview:
        _preview(folder, corpus, documents, settings or [], options, output)
    else:
        with command_errors(output):
            from hfembed.errors import InputError

            if folder is None or corpus is not None:
                raise InputError(
                    "generate works in the folder of a run.", "hfembed generate DIR, or: --preview --corpus SRC"
                )
            with cli_engine.working_with(engine, ray_address):
                _run_stage("generate", folder, settings or [], output, options)


_stage_command("mine", "Find hard negatives for the training queries.", spread=True)
_stage_command("train", "Train, and fold the result into the model's weights.", spread=True)


@app.command()
def evaluate(
    what: Annotated[str, typer.Argument(metavar="DIR|MODEL", help="A run; with --queries, a model folder or Hub id.")],
    tasks: TasksOption = None,
    benchmark: BenchmarkOption = None,
    corpus: Annotated[str | None, typer.Option(metavar="SRC", help="The corpus that your queries are about.")] = None,
    queries: Annotated[Path | None, typer.Option(metavar="FILE", help="Score MODEL on your own queries.")] = None,
    qrels: Annotated[Path | None, typer.Option(metavar="FILE", help="Which documents answer them.")] = None,
    base: Annotated[str | None, typer.Option(metavar="MODEL", help="A model to compare with on your queries.")] = None,
    endpoint: cli_serve.EndpointOption = None,
    served: cli_serve.ServedOption = None,
    api_key_env: cli_serve.KeyOption = None,
    settings: SetOption = None,
    engine: cli_engine.EngineOption = EngineName.LOCAL,
    ray_address: cli_engine.AddressOption = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Score base, tuned and BM25 on the held-out test, with a verdict; or any model on your own queries."""
    if endpoint is not None:
        cli_serve.evaluate_endpoint(what, endpoint, served, api_key_env, output)
        return
    if queries is None and not (corpus or qrels or base):
        with command_errors(output), cli_engine.working_with(engine, ray_address):
            _run_stage("evaluate", Path(what), settings or [], output, _public_tasks(tasks, benchmark))
        return
    with command_errors(output), cli_engine.working_with(engine, ray_address):
        from hfembed import terminal
        from hfembed.errors import InputError
        from hfembed.events import Events, Reporter
        from hfembed.measure import measure

        if queries is None or corpus is None or tasks or benchmark or settings:
            raise InputError(
                "A model is scored on your own queries over a corpus.",
                "hfembed evaluate MODEL --corpus SRC --queries FILE --qrels FILE",
            )
        with terminal.screen() as listener:
            found = measure(what, corpus, queries, qrels, base, Reporter("evaluate", Events(listeners=[listener])))
        if output is Format.JSON:
            terminal.print_json(found.to_json())
        else:
            terminal.show_measured(found)


_stage_command("export", "Write ONNX files, and keep those that give the same vectors.")


@app.command()
def push(
    folder: RunArgument,
    model_repo: Annotated[str | None, typer.Option(metavar="ORG/NAME", help="Push the model there.")] = None,
    dataset_repo: Annotated[str | None, typer.Option(metavar="ORG/NAME", help="Push the triplets there.")] = None,
    public: Annotated[bool, typer.Option("--public", help="Make new repos public; private otherwise.")] = False,
    pull_request: Annotated[bool, typer.Option("--pr", help="Open a pull request instead of changing main.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Let a model that is worse than its base go to main.")] = False,
    collection: CollectionOption = None,
    settings: SetOption = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Publish the model and its triplets, each with one commit, and read them back."""
    if _is_plain_model(folder):
        _push_folder(folder, model_repo, dataset_repo or collection, public, pull_request, output)
        return
    values = {"model_repo": model_repo, "dataset_repo": dataset_repo, "public": public, "pull_request": pull_request}
    values |= {"force": force, "collection": collection}
    options = {f"push.{key}": value for key, value in values.items() if value}
    _run_stage("push", folder, settings or [], output, options)


@app.command()
def status(run: cli_elsewhere.LaunchedArgument, output: FormatOption = Format.TEXT) -> None:
    """Show a run's stages, times, counts and verdict; of one that was sent elsewhere also how it stands there."""
    with command_errors(output):
        from hfembed.run import Run

        if Path(run).is_dir() and not cli_launch.is_sent(run):
            _show_run(Run.open(Path(run)), None, output)
        else:
            cli_launch.show_status(run, output)


app.command()(cli_launch.runs)
app.command()(cli_launch.logs)
app.command()(cli_launch.cancel)
app.command()(cli_presets.compare_presets)
app.command()(cli_domains.domains)
app.command()(cli_serve.serve)
app.command()(cli_index.index)
app.command()(cli_index.search)
app.command(hidden=True)(cli_launch.work)


@app.command()
def demo(
    root: Annotated[Path, typer.Option(metavar="DIR", help="Where the demo's Hub and run are kept.")] = Path(
        "runs/demo"
    ),
    leave: Annotated[bool, typer.Option("--exit", help="End when done, instead of keeping the Hub up.")] = False,
    output: FormatOption = Format.TEXT,
) -> None:
    """Show the whole way on the sample corpus, through a Hub on this machine; needs no network."""
    with command_errors(output):
        from hfembed import terminal
        from hfembed.demo import demo as show
        from hfembed.front import has_screen

        with show(root.resolve(), lambda sentence: terminal.words.print(f"[bold]{sentence}[/]")) as shown:
            if output is Format.JSON:
                terminal.print_json(
                    {
                        "url": shown.url,
                        "links": shown.links(),
                        "run": shown.run,
                        "search": shown.search,
                        "space": shown.space,
                    }
                )
            else:
                terminal.show_run(shown.run)
                terminal.show_demo(shown.links(), shown.search)
            if not leave:
                terminal.words.print(f"\nThe run in your browser: [link={shown.space}]{shown.space}[/]")
                terminal.words.print("The Hub and that page stay up until Ctrl-C.")
                if has_screen():
                    webbrowser.open(shown.space)
                with contextlib.suppress(KeyboardInterrupt):
                    shown.wait()


@app.command()
def presets(
    name: Annotated[str | None, typer.Argument(help="Explain this preset.")] = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """List the presets, or explain one; into a file it goes with every setting, as a recipe."""
    with command_errors(output):
        from hfembed import terminal
        from hfembed.recipe import load_preset, load_presets, make_recipe

        if name:
            resolved = make_recipe(name)
            if output is Format.JSON:
                terminal.print_json(resolved.model_dump(mode="json"))
            elif terminal.results.is_terminal:
                from hfembed.terminal_presets import show_preset

                show_preset(name, load_preset(name))
            else:  # into a file or another command: a recipe that runs
                typer.echo(terminal.as_comment(load_preset(name).explain(name)) + resolved.to_yaml(), nl=False)
            return
        known = {key: preset.model_dump(exclude={"recipe"}) for key, preset in load_presets().items()}
        if output is Format.JSON:
            terminal.print_json(known)
            return
        for key, preset in known.items():
            terminal.results.print(f"[bold cyan]{key}[/]  {preset['description']}\n  [dim]needs {preset['needs']}[/]")


@app.command()
def compare(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL MODEL...",
            help="Folders, runs, Hub ids, indexes, bm25 or hybrid; base and tuned where the corpus is a run, index where "
            "it is one.",
        ),
    ],
    query: Annotated[str, typer.Option(metavar="TEXT", help="What to search for.")],
    corpus: Annotated[
        str | None,
        typer.Option(metavar="SRC", help="A corpus as for run, a finished run, or an index; that of a first index."),
    ] = None,
    count: Annotated[int, typer.Option("--top", "-k", min=1, max=1000, metavar="N", help="Passages to show.")] = 10,
    output: FormatOption = Format.TEXT,
) -> None:
    """Answer one query with several models, side by side."""
    with command_errors(output):
        from hfembed import terminal
        from hfembed.compare import compare as rank
        from hfembed.compare import to_json
        from hfembed.events import Events, Reporter

        with terminal.screen() as listener:
            rankings = rank(models, corpus, query, count, Reporter("compare", Events(listeners=[listener])))
        if output is Format.JSON:
            terminal.print_json({"query": query, "rankings": to_json(rankings)})
        else:
            terminal.show_rankings(query, rankings)


app.add_typer(cli_generator.app, name="generator")
app.add_typer(cli_hub.app, name="hub")
app.add_typer(cli_space.app, name="space")
app.add_typer(cli_deploy.app, name="deploy")


def _public_tasks(tasks: str | None, benchmark: str | None) -> dict[str, Any]:
    names = [name.strip() for name in (tasks or "").split(",") if name.strip()]
    return {"evaluate.tasks": names or None, "evaluate.benchmark": benchmark}


def _check_public_tasks(recipe: Any) -> None:
    """Refuse a name that mteb does not know before any work is done."""
    if recipe.evaluate.tasks or recipe.evaluate.benchmark:
        from hfembed.evaluate.public import find_tasks
        from hfembed.stage import require

        require("train", "mteb")
        find_tasks(recipe.evaluate.tasks, recipe.evaluate.benchmark)


def _show_prompts(output: Format) -> None:
    from hfembed import terminal
    from hfembed.generate.llm.prompts import prompts_folder

    if output is Format.JSON:
        terminal.print_json({"prompts": str(prompts_folder())})
    else:
        typer.echo(str(prompts_folder()))


def _preview(
    folder: Path | None, corpus: str | None, count: int, settings: list[str], options: dict[str, Any], output: Format
) -> None:
    with command_errors(output):
        import tempfile

        from hfembed import pipeline, terminal
        from hfembed.errors import InputError
        from hfembed.generate.preview import preview
        from hfembed.recipe import make_recipe
        from hfembed.run import Run

        if (folder is None) == (corpus is None):
            raise InputError(
                "A preview needs a run or a corpus, one of them.", "--preview --corpus SRC, or --preview DIR"
            )
        with terminal.screen() as listener, tempfile.TemporaryDirectory(prefix="hfembed-preview-") as temporary:
            target = Run(folder or Path(temporary))
            if corpus is not None:
                recipe = from_anywhere(make_recipe(settings=settings, options={**options, "corpus": corpus}))
                pipeline.run(recipe, target, until="pull", listeners=[listener])
            else:
                recipe = _recipe_for_stage("generate", target, settings, options)
            shown = preview(recipe, target, count, [listener])
        if output is Format.JSON:
            terminal.print_json(shown.to_json())
        else:
            terminal.show_preview(shown.to_json())


def _is_plain_model(folder: Path) -> bool:
    from hfembed.run import LAYOUT

    return not (folder / LAYOUT.recipe).is_file() and (folder / "config.json").is_file()


def _push_folder(
    folder: Path, model_repo: str | None, other: str | None, public: bool, pull_request: bool, output: Format
) -> None:
    with command_errors(output):
        from hfembed import terminal
        from hfembed.errors import InputError
        from hfembed.events import Events, Reporter
        from hfembed.push import push_folder

        if not model_repo or other:
            raise InputError(
                f"'{folder}' is a model and no run: it goes to a model repo alone.", "Add --model-repo ORG/NAME only."
            )
        with terminal.screen() as listener:
            report = Reporter("push", Events(listeners=[listener]))
            done = push_folder(folder, model_repo, public=public, pull_request=pull_request, report=report).to_json()
        if output is Format.JSON:
            terminal.print_json(done)
        else:
            terminal.show_published(done["published"])


def _show_run(target: Any, worked: list[str] | None, output: Format) -> None:
    from hfembed import terminal
    from hfembed.summary import summarize

    summary = summarize(target, worked)
    if output is Format.JSON:
        terminal.print_json(summary)
    else:
        terminal.show_run(summary)


def _run_stage(
    name: str, folder: Path, settings: list[str], output: Format, options: dict[str, Any] | None = None
) -> None:
    with command_errors(output):
        from hfembed import pipeline, terminal
        from hfembed.run import Run

        target = Run(folder)
        resolved = _recipe_for_stage(name, target, settings, options)
        with terminal.screen() as listener:
            worked = pipeline.run_stage(name, resolved, target, listeners=[listener])
        _show_run(target, worked, output)


def _recipe_for_stage(name: str, target: Any, settings: list[str], options: dict[str, Any] | None) -> Any:
    from hfembed.mismatch import changes
    from hfembed.recipe import apply_settings, make_recipe
    from hfembed.run import LAYOUT, Run

    if name == "pull" and not target.path(LAYOUT.recipe).is_file():
        return from_anywhere(make_recipe(settings=settings))
    kept = Run.open(target.folder).recipe()
    changed = apply_settings(kept.model_dump(mode="json"), settings, options)
    changed = from_anywhere(
        changed, "generate.pairs", "train.dev_queries", "generate.llm.prompts", "generate.llm.model",
        "generate.filters.retriever", "mine.retriever",
    )  # fmt: skip
    for change in changes(kept, changed, STAGE_NAMES):
        if STAGE_NAMES.index(change.stage) < STAGE_NAMES.index(name):
            raise RunMismatchError(
                f"{change.key} belongs to {change.stage}, which comes before {name}.",
                f"hfembed {change.stage} {target.folder} --set {change.key}={change.new}",
            )
    return changed


def _recipe_or_corpus(source: str | None, corpus: str | None) -> tuple[Path | None, str | None]:
    """Return the recipe file and the corpus that are named; `run` takes either without an option."""
    from hfembed.errors import InputError

    if source is None or source.lower().endswith(RECIPES):
        return (None if source is None else Path(source)), corpus
    if corpus is not None:
        raise InputError(f"Two corpora are named: '{source}' and '{corpus}'.", "Leave one of them out.")
    return None, source


def _absolute(path: Path | None) -> str | None:
    return str(path.resolve()) if path else None


def main() -> None:
    """Run the command line."""
    prepare_process()
    app(prog_name="hfembed")


if __name__ == "__main__":
    main()
