"""YAML as scalars, sequences and mappings that know their line, before any of it has a type.

A scalar stays the text that was written. What it means depends on the key that it is given to, so
that YAML's guesses (`no` for false, `010` for 8, `1.10` for 1.1) are never taken.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import yaml

from berth.configuration.errors import ConfigurationError

MOST_NODES = 10_000  # after anchors are expanded: a few lines of them make billions
MOST_DEPTH = 32
MOST_CHARACTERS = 1_000_000
_TAGS = "tag:yaml.org,2002:"
_OWN_TAGS = {
    yaml.ScalarNode: {_TAGS + kind for kind in ("str", "int", "float", "bool", "null", "timestamp")}
    | {_TAGS + "merge", _TAGS + "value"},
    yaml.SequenceNode: {_TAGS + "seq"},
    yaml.MappingNode: {_TAGS + "map"},
}


@dataclass(frozen=True, slots=True)
class Scalar:
    """Text at a place. `plain`: without quotes, so that it may stand for a number or null."""

    text: str
    plain: bool
    origin: str


@dataclass(slots=True)
class Sequence:
    """Values in their order."""

    items: list[Node]
    origin: str


@dataclass(slots=True)
class Mapping:
    """Values by key. `places` says where each key is written."""

    entries: dict[str, Node]
    origin: str
    places: dict[str, str] = field(default_factory=dict)


Node = Scalar | Sequence | Mapping


def parse(text: str, name: str, *, whole: bool = True) -> Node:
    """The one document in `text`. Nothing at all is an empty mapping.

    Args:
        name: of the file, or of the environment's variable.
        whole: the text is a file, of which lines are told; else only the name is.

    Raises:
        ConfigurationError: it is no YAML; a key twice; a tag, a merge, a cycle, or more than
            MOST_NODES values.
    """
    if len(text) > MOST_CHARACTERS:
        raise ConfigurationError([f"{name}: longer than {MOST_CHARACTERS:,} characters"])
    try:
        composed = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if whole and mark is not None else name
        raise ConfigurationError([f"{where}: not YAML: {error.problem or error.context}"]) from None
    except yaml.YAMLError as error:
        raise ConfigurationError([f"{name}: not YAML: {str(error).splitlines()[0]}"]) from None
    except RecursionError:
        raise ConfigurationError([f"{name}: nested too deep"]) from None
    if composed is None:
        return Mapping({}, name)
    reading = _Reading(name, whole)
    root = reading.node(composed, "", 0)
    if reading.problems:
        raise ConfigurationError(reading.problems)
    return root


class _Reading:
    """One walk over a document: counts what it has seen, since anchors repeat it."""

    def __init__(self, name: str, whole: bool) -> None:
        self.problems: list[str] = []
        self._name, self._whole = name, whole
        self._count = 0

    def node(self, node: yaml.Node, path: str, depth: int) -> Node:
        where = self._where(node)
        self._count += 1
        if self._count > MOST_NODES:
            raise ConfigurationError(
                [f"{where}: more than {MOST_NODES:,} values, with anchors expanded"]
            )
        if depth > MOST_DEPTH:  # a cycle of anchors gets here too
            raise ConfigurationError([f"{where}: nested deeper than {MOST_DEPTH} levels"])
        if node.tag not in _OWN_TAGS.get(type(node), set()):
            shown = node.tag.replace(_TAGS, "!!")[:60]
            self.problems.append(f"{where}: {path or 'the file'}: tag {shown} is not read")
        if isinstance(node, yaml.ScalarNode):
            return Scalar(node.value, node.style is None, where)
        if isinstance(node, yaml.SequenceNode):
            inside = enumerate(node.value)
            items = [self.node(one, f"{path}[{at}]", depth + 1) for at, one in inside]
            return Sequence(items, where)
        made = Mapping({}, where)
        for key, value in node.value:
            at = self._where(key)
            if not isinstance(key, yaml.ScalarNode):
                self.problems.append(f"{at}: {path or 'the file'}: a key should be one word")
                continue
            inner = f"{path}.{key.value}" if path else key.value
            if key.value == "<<" and key.style is None:
                self.problems.append(f"{at}: {inner}: merge keys are not read; write the keys out")
            elif key.value in made.entries:
                self.problems.append(
                    f"{at}: {inner}: given twice, first at {made.places[key.value]}"
                )
            else:
                made.entries[key.value] = self.node(value, inner, depth + 1)
                made.places[key.value] = at
        return made

    def _where(self, node: yaml.Node) -> str:
        return f"{self._name}:{node.start_mark.line + 1}" if self._whole else self._name
