"""`--config FILE`: options from a file, behind those of the command line."""

from pathlib import Path

from cyclopts import App, ArgumentCollection
from cyclopts.config import Dict

from reparam.recipes.options import checked, model_of, read

OPTION = "--config"


def from_file(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Give the arguments that have no value yet those of the file that `--config` names."""
    tokens = [t for a in arguments if OPTION in a.names for t in a.tokens]
    if not tokens:
        return
    file, (_, model) = tokens[0].value, commands
    values = read(Path(file), OPTION)
    named = model_of({"model": model} | values, file)
    if named != model:
        raise ValueError(f"{OPTION}: expected options of {model}, got {file}, which is of {named}")
    own = checked(model, {k: v for k, v in values.items() if k != "model"}, file)
    Dict(own, source=file, use_commands_as_keys=False)(app, commands, arguments)


def with_model(arguments: list[str]) -> list[str]:
    """The arguments of `reparam train --config FILE`, with the model that the file names."""
    if arguments[:1] != ["train"] or not arguments[1:2] or not arguments[1].startswith("-"):
        return arguments
    words = [part for argument in arguments for part in argument.split("=", 1)]
    file = words[words.index(OPTION) + 1 :][:1] if OPTION in words else []
    if not file:
        return arguments
    return ["train", model_of(read(Path(file[0]), OPTION), file[0]), *arguments[1:]]
