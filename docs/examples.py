"""How the API pages read the package: docstrings as Markdown, functions before files."""

import re

from griffe import Alias, Extension, Module, Object

EXAMPLE = re.compile(r"^>>> .*?(?=\n\s*\n|\Z)", re.MULTILINE | re.DOTALL)
ARGUMENT = re.compile(r"[a-z_]+(, [a-z_]+)*: ")


class Examples(Extension):
    """Called by griffe, which runs nothing, when it has read a package."""

    def on_package(self, *, pkg: Module, **_: object) -> None:
        """Fences examples, lists arguments, and puts functions before the files that hide them."""
        read(pkg)


def read(obj: Object) -> None:
    """An object and what is in it.

    Where a package has a function and a file of one name, the name is the function's at run time,
    and griffe takes the file.
    """
    if obj.docstring:
        text = listed(obj.docstring.value)
        obj.docstring.value = EXAMPLE.sub(r"```pycon\n\g<0>\n```", text)
    for name, member in list(obj.members.items()):
        if member.is_alias:
            continue
        read(member)
        if member.is_module and obj.imports.get(name) == f"{member.path}.{name}":
            obj.members[name] = Alias(name, member.members[name], parent=obj)


def listed(text: str) -> str:
    """The lines that begin with a name as a list, which Markdown begins after an empty line."""
    lines, inside = [], False
    for line in text.splitlines():
        if ARGUMENT.match(line):
            lines += ["", f"- {line}"] if not inside and lines and lines[-1] else [f"- {line}"]
            inside = True
        else:
            inside = inside and line.startswith(" ")
            lines.append(line)
    return "\n".join(lines)
