"""Parameters of the kernel driver's module ``hailo_pci``, and what may be given (driver.md 1.2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from openhailo.errors import InputError

Version = tuple[int, int, int]
MODULE = "hailo_pci"


class Kind(Enum):
    """What a value is."""

    NUMBER = "a number"
    SWITCH = "Y or N"


@dataclass(frozen=True)
class Parameter:
    """A parameter: its first release, its default, and the numbers that the driver takes."""

    name: str
    kind: Kind
    default: str
    meaning: str
    since: Version = (4, 17, 0)
    choices: tuple[int, ...] = ()


#: The page sizes of a descriptor list that the driver's own check lets through.
_PAGE_SIZES = (0, *(1 << n for n in range(6, 16)))

PARAMETERS: Mapping[str, Parameter] = {
    parameter.name: parameter
    for parameter in (
        Parameter("o_dbg", Kind.NUMBER, "5", "log level, 7 says most", choices=tuple(range(8))),
        Parameter("no_power_mode", Kind.SWITCH, "N", "Y: the card is never put to sleep (D3hot)"),
        Parameter(
            "force_allocation_from_driver",
            Kind.NUMBER,
            "0",
            "0 automatic, 1 buffers of user space, 2 buffers of the driver",
            choices=(0, 1, 2),
        ),
        Parameter("force_desc_page_size", Kind.NUMBER, "0", "largest descriptor page in bytes", choices=_PAGE_SIZES),
        Parameter("support_soft_reset", Kind.SWITCH, "Y", "N: firmware that runs already is kept", since=(4, 20, 0)),
    )
}


def parse_options(words: Iterable[str], version: Version | None = None) -> dict[str, str]:
    """Turn ``NAME=VALUE`` texts into checked options; a wrong one would keep the module from loading.

    ``version`` is the driver's, None when not known. Raises `InputError`.
    """
    options: dict[str, str] = {}
    for word in words:
        name, _, value = word.partition("=")
        parameter = PARAMETERS.get(name)
        if parameter is None:
            raise InputError(what=f"module option {word!r}", detail=f"the options are {', '.join(PARAMETERS)}")
        if version is not None and version < parameter.since:
            raise InputError(what=f"module option {name}", detail=f"is there since {_dotted(parameter.since)} only")
        options[name] = _checked(parameter, value)
    return options


def _checked(parameter: Parameter, value: str) -> str:
    if parameter.kind is Kind.SWITCH:
        if value in ("Y", "N"):
            return value
    elif value.isascii() and value.isdecimal() and len(value) < 6 and int(value) in parameter.choices:
        return str(int(value))
    wanted = parameter.kind.value if not parameter.choices else f"one of {', '.join(map(str, parameter.choices))}"
    raise InputError(what=f"module option {parameter.name}={value!r}", detail=f"the value has to be {wanted}")


def _dotted(version: Version) -> str:
    return ".".join(map(str, version))
