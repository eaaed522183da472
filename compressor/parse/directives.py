"""Owns directives that docutils does not know, those of Sphinx above all: what is in them is read, too."""

import re

from docutils import nodes
from docutils.parsers.rst import Directive, directives
from docutils.parsers.rst.languages import en

_NAMES = re.compile(r"\.\. +([^\W_]+(?:[-._+:][^\W_]+)*) ?::")
_CAPTION = re.compile(r"^:caption: *(.+)$", re.M)
_LISTINGS = frozenset(
    (  # noqa: SIM905  # as a list it would be half a page long
        "code-block sourcecode testcode testsetup testoutput testcleanup prompt productionlist ipython "
        "graph digraph graphviz mermaid uml plantuml"
    ).split()
)


def make_known(text: str) -> None:
    """Have docutils read what else it would leave out of `text`. This holds for the whole process, and does no harm."""
    for name in {found.lower() for found in _NAMES.findall(text)}:
        if name in _LISTINGS:
            directives.register_directive(name, _Listing)
        elif name not in en.directives:
            directives.register_directive(name, _Foreign)


class _Foreign(Directive):  # type: ignore[misc]  # docutils has no types
    """Its first lines as they stand, without the dots, and its content as part of the text around it."""

    optional_arguments = 1
    final_argument_whitespace = True
    has_content = True

    def run(self) -> list[nodes.Node]:
        said = " ".join((f"{self.name}::", *self.arguments))
        parts, messages = self.state.inline_text(said, self.lineno)
        inside = nodes.container()
        self.state.nested_parse(self.content, self.content_offset, inside)
        return [nodes.paragraph(said, "", *parts), *messages, *inside.children]


class _Listing(Directive):  # type: ignore[misc]  # docutils has no types
    """Code, with options that docutils does not know either; of these a reader sees the caption."""

    optional_arguments = 1
    final_argument_whitespace = True
    has_content = True

    def run(self) -> list[nodes.Node]:
        text = "\n".join(self.content)
        captions = _CAPTION.findall(self.arguments[0]) if self.arguments else []
        return [*(nodes.caption(said, said) for said in captions), *([nodes.literal_block(text, text)] if text else [])]
