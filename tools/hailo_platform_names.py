"""Every name of the original API: what it should be, and whether ours is that.

The list is `hailo_platform_names.json`, a mechanical extract of the public interface. A `Name` is one line of it;
`check` compares the object behind it with what the list says: kind, signature, value, bases.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

LIST = Path(__file__).with_name("hailo_platform_names.json")
BINDING = "hailo_platform.pyhailort._pyhailort"
#: Names of a pickle protocol that need not be attributes: objects are tried instead.
_PICKLE = frozenset({"__getstate__", "__setstate__"})

#: What cannot exist on a Hailo-8 that is connected over PCIe: pattern of the full name -> reason.
IMPOSSIBLE: tuple[tuple[str, str], ...] = (
    (r"Udp|UDP|RateLimiter|BadTC|udp_rate", "Ethernet boards only"),
    (r"Ethernet(?!_)|create_eth\b|ethernet_utils", "Ethernet boards only"),
    (r"Mipi|mipi", "camera interface of other chips"),
    (r"Isp[A-Z]|store_isp_config", "image signal processor of other chips"),
    (r"Eth(Input|Output)StreamParams|eth_(input|output)_params|sockaddr_in", "Ethernet boards only"),
    (r"_cache(_|\b)|get_cache_ids", "networks of language models on other chips"),
    (r"\.set_pause_frames$", "Ethernet boards only"),
)


@dataclass(frozen=True)
class Name:
    """One name: where it lives, what it is (class, method, property, constant, ...), what the list says about it."""

    path: str
    kind: str
    says: Any

    @property
    def impossible(self) -> str:
        """Why it cannot exist over PCIe; empty when it can."""
        return next((reason for pattern, reason in IMPOSSIBLE if re.search(pattern, self.path)), "")


def listed() -> dict[str, Any]:
    """Return the list."""
    found: dict[str, Any] = json.loads(LIST.read_text(encoding="utf-8"))
    return found


def names() -> Iterator[Name]:
    """Yield every name of the list."""
    table = listed()
    for name in table["exports"]:
        yield Name(f"hailo_platform.{name}", "export", None)
    for module, content in table["python"].items():
        yield from _python_names(module, content)
    for name, what in table["binding"].items():
        yield from _binding_names(name, what)
    for status, number in table["statuses"].items():
        yield Name(f"status.{status}", "status", number)


def _python_names(module: str, content: dict[str, Any]) -> Iterator[Name]:
    for function, signature in content["functions"].items():
        yield Name(f"{module}.{function}", "function", signature)
    for constant, text in content["constants"].items():
        yield Name(f"{module}.{constant}", "constant", text)
    for cls, what in content["classes"].items():
        yield from _class_names(f"{module}.{cls}", what)


def _class_names(path: str, what: dict[str, Any]) -> Iterator[Name]:
    yield Name(path, "class", what["bases"])
    for member, (listed_kind, *rest) in what["members"].items():
        kind = {"class": "class method", "nested class": "class"}.get(listed_kind, listed_kind)
        text = rest[0] if rest else ""
        yield Name(f"{path}.{member}", kind, [text.strip("()")] if kind == "class" else text)


def _binding_names(name: str, what: dict[str, Any]) -> Iterator[Name]:
    path = f"{BINDING}.{name}"
    if "function" in what:
        yield Name(path, "bound function", what["function"])
        return
    yield Name(path, "bound enum" if "enum" in what else "bound class", what.get("enum"))
    for member, number in what.get("enum", {}).items():
        yield Name(f"{path}.{member}", "enum member", number)
    for member, text in what.get("members", {}).items():
        yield Name(f"{path}.{member}", "bound member", text)


# --- what ours is -----------------------------------------------------------------------------------------------------


def resolve(path: str) -> Any:
    """Return the object behind a dotted path, without running properties. Raises `AttributeError`."""
    module, rest = _module_of(path)
    found: Any = module
    for part in rest:
        found = inspect.getattr_static(found, part) if inspect.isclass(found) else getattr(found, part)
        if isinstance(found, staticmethod | classmethod):
            found = found.__func__
    return found


def _module_of(path: str) -> tuple[ModuleType, list[str]]:
    parts = path.split(".")
    for end in range(len(parts), 0, -1):
        try:
            return importlib.import_module(".".join(parts[:end])), parts[end:]
        except ModuleNotFoundError as error:
            if not path.startswith(error.name or ""):
                raise
    raise AttributeError(path)


def check(name: Name) -> str:
    """Return what is wrong with ours; empty when nothing is."""
    try:
        return _CHECKS[name.kind](name)
    except AttributeError as error:
        return f"missing: {error}"


def _check_export(name: Name) -> str:
    package = importlib.import_module("hailo_platform")
    short = name.path.rpartition(".")[2]
    return "" if short in package.__all__ and hasattr(package, short) else "not exported"


def _check_class(name: Name) -> str:
    found = resolve(name.path)
    if not inspect.isclass(found):
        return f"{found!r} is no class"
    bases = [base.__name__ for base in found.__bases__]
    if found.__name__ != name.path.rpartition(".")[2]:  # an alias, like the older name of an exception
        return "" if issubclass(found, Exception) else f"it is {found.__name__}"
    return "" if bases == name.says else f"bases {bases} instead of {name.says}"


def _check_signature(name: Name) -> str:
    found = resolve(name.path)
    seen, wanted = _parameters(found), _listed_parameters(name.says)
    return "" if seen == wanted else f"parameters {seen} instead of {wanted}"


def _parameters(function: Any) -> list[tuple[str, str, str]]:
    found = []
    for parameter in inspect.signature(function).parameters.values():
        default = "" if parameter.default is parameter.empty else _text(parameter.default)
        found.append((parameter.name, parameter.kind.name, default))
    return found


def _text(value: Any) -> str:
    return str(value) if type(type(value)).__name__ == "BoundEnumType" else repr(value)


def _listed_parameters(signature: str) -> list[tuple[str, str, str]]:
    clean = re.sub(r"<[^<>]*?([\w.]+): [^<>]*>", r"\1", signature)
    function = ast.parse(f"def f{clean}: pass").body[0]
    assert isinstance(function, ast.FunctionDef), "it was just written as one"
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    found = [
        (argument.arg, "POSITIONAL_OR_KEYWORD", ast.unparse(default) if default is not None else "")
        for argument, default in zip(positional, defaults, strict=True)
    ]
    if arguments.vararg is not None:
        found.append((arguments.vararg.arg, "VAR_POSITIONAL", ""))
    for argument, keyword_default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        text = ast.unparse(keyword_default) if keyword_default is not None else ""
        found.append((argument.arg, "KEYWORD_ONLY", text))
    if arguments.kwarg is not None:
        found.append((arguments.kwarg.arg, "VAR_KEYWORD", ""))
    return found


def _check_property(name: Name) -> str:
    found = resolve(name.path)
    return "" if isinstance(found, property) else f"{found!r} is no property"


def _check_constant(name: Name) -> str:
    found = resolve(name.path)
    text = _text(found)
    if text == name.says or text.startswith(name.says.rstrip("'\"")) or len(name.says) >= 60:
        return ""  # the list cuts long values short
    try:
        return "" if float(text) == float(name.says) else f"{text} instead of {name.says}"
    except ValueError:
        return f"{text} instead of {name.says}"


def _check_bound_enum(name: Name) -> str:
    members = {member: int(value) for member, value in resolve(name.path).__members__.items()}
    return "" if members == name.says else f"members {members}"


def _check_enum_member(name: Name) -> str:
    enum, _, member = name.path.rpartition(".")
    value = resolve(enum).__members__[member]
    same = (value.name, value.value, int(value)) == (member, name.says, name.says)
    return "" if same else f"{value!r} instead of {name.says}"


def _check_bound_class(name: Name) -> str:
    return "" if inspect.isclass(resolve(name.path)) else "no class"


def _check_callable(name: Name) -> str:
    return "" if callable(resolve(name.path)) else "not callable"


def _check_bound_member(name: Name) -> str:
    owner, _, member = name.path.rpartition(".")
    cls = resolve(owner)
    if member in _PICKLE:
        return ""
    if member in getattr(cls, "__dataclass_fields__", {}):
        return _check_access(cls, member, name.says)
    if not hasattr(cls, member):
        return "" if hasattr(cls(), member) else "missing"
    found = inspect.getattr_static(cls, member)
    if "[ro]" in name.says:
        readable = isinstance(found, property) and found.fset is None
        return "" if readable else f"{found!r} is not read-only"
    if "[rw]" in name.says:
        return "" if not isinstance(found, property) or found.fset is not None else "cannot be set"
    return "" if callable(getattr(cls, member)) else "not callable"


def _check_access(cls: Any, member: str, says: str) -> str:
    frozen = cls.__dataclass_params__.frozen
    if "[ro]" in says and not frozen:
        return f"{member} can be changed"
    return f"{member} cannot be changed" if "[rw]" in says and frozen else ""


def _check_status(name: Name) -> str:
    module = importlib.import_module(BINDING)
    status = name.path.partition(".")[2]
    seen = module.get_status_message(name.says)
    return "" if seen == status else f"{name.says} is {seen}"


_CHECKS = {
    "export": _check_export,
    "class": _check_class,
    "function": _check_signature,
    "method": _check_signature,
    "static": _check_signature,
    "property": _check_property,
    "class method": _check_signature,
    "constant": _check_constant,
    "bound function": _check_callable,
    "bound enum": _check_bound_enum,
    "enum member": _check_enum_member,
    "bound class": _check_bound_class,
    "bound member": _check_bound_member,
    "status": _check_status,
}
