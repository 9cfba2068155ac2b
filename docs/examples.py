"""How the API pages read docstrings: examples become code, described arguments a list."""

import re

from griffe import Extension, Object

EXAMPLE = re.compile(r"^>>> .*?(?=\n\s*\n|\Z)", re.MULTILINE | re.DOTALL)
ARGUMENT = re.compile(r"^(?=[a-z_]+(, [a-z_]+)*: )", re.MULTILINE)


class Examples(Extension):
    """Fences paragraphs that begin with a prompt, and lists lines that begin with a name."""

    def on_object(self, *, obj: Object, **_: object) -> None:
        """Called by griffe for every object it has read."""
        if obj.docstring:
            text = ARGUMENT.sub("- ", obj.docstring.value)
            obj.docstring.value = EXAMPLE.sub(r"```pycon\n\g<0>\n```", text)
