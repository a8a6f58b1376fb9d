"""Changes values of a `params.yaml` in place, with its comments, its order and the rest of its bytes' meaning kept.

For commands that recommend params; people edit the file by hand. The price: ruamel writes the file anew, so unusual
spacing between a value and its comment may change.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter

from palier.adapters.workspace import write_text
from palier.errors import ParamsError
from palier.params import Params, parse_params

_WIDTH = 120


def section_yaml(name: str, values: Mapping[str, Any]) -> str:
    """A section as it would stand in the file: one line per key, maps and lists within the line."""
    section = CommentedMap({key: _inline(value) for key, value in values.items()})
    return _dump(CommentedMap({name: section}))


def change_params(path: Path, changes: Mapping[str, Mapping[str, Any]]) -> Params:
    """Set the given keys of the given sections, write the file whole, and return what it now says.

    Nothing is written when the result would not be valid: ParamsError tells each wrong value.
    """
    loaded = _yaml().load(path.read_text(encoding="utf-8"))
    for section, values in changes.items():
        if section not in loaded:
            raise ParamsError(f"{path} has no section {section!r}: copy it from the params.yaml of the repository.")
        for key, value in values.items():
            _set(loaded[section], key, value)
    text = _dump(loaded)
    params = parse_params(YAML(typ="safe", pure=True).load(text), str(path))
    write_text(path, text)
    return params


def _set(section: CommentedMap, key: str, value: Any) -> None:
    there = section.get(key)
    if there == value:
        return
    if isinstance(value, Mapping) and isinstance(there, CommentedMap):
        for name, item in value.items():
            there[name] = item
        for name in [name for name in there if name not in value]:
            del there[name]
    else:
        section[key] = _inline(value)


def _inline(value: Any) -> Any:
    if isinstance(value, Mapping):
        inline: Any = CommentedMap(value)
    elif isinstance(value, list | tuple):
        inline = CommentedSeq(value)
    else:
        return value
    inline.fa.set_flow_style()
    return inline


def _dump(data: CommentedMap) -> str:
    stream = io.StringIO()
    _yaml().dump(data, stream)
    return stream.getvalue()


def _null(representer: RoundTripRepresenter, _: None) -> ScalarNode:
    node: ScalarNode = representer.represent_scalar("tag:yaml.org,2002:null", "null")
    return node


class _PlainSpoken(RoundTripRepresenter):
    """Writes null as `null`, which people read, and not as nothing."""

    # The base is declared without ClassVar, and used as one.
    yaml_representers: ClassVar = {**RoundTripRepresenter.yaml_representers, type(None): _null}  # type: ignore[misc]


def _yaml() -> YAML:
    yaml = YAML()
    yaml.Representer = _PlainSpoken
    yaml.preserve_quotes = True
    yaml.width = _WIDTH
    return yaml
