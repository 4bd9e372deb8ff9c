"""Enumerations as the original's compiled part has them (pyhailort-api.md 4).

They are not `enum.Enum`: members compare equal to plain integers, any integer makes an object, and subclasses inherit
the members, which programs rely on (``HailoSchedulingAlgorithm.ROUND_ROBIN`` is a `SchedulingAlgorithm`).
"""

from __future__ import annotations

from typing import Any, Self


def _parse(table: str) -> dict[str, int]:
    """Read ``"A B C=5 D"``: numbers count on from the last one given, beginning with 0."""
    members: dict[str, int] = {}
    number = 0
    for word in table.split():
        name, _, given = word.partition("=")
        number = int(given, 0) if given else number
        members[name] = number
        number += 1
    return members


class BoundEnumType(type):
    """Makes members of a class's table, and says which member was meant when a name does not exist."""

    __members__: dict[str, Any]

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], table: str = "") -> BoundEnumType:
        """Make the class; ``table`` lists its members."""
        cls = super().__new__(mcs, name, bases, namespace)
        members = {member: cls._make(number) for member, number in _parse(table).items()} if table else {}
        if members:
            cls.__members__ = members
            for member, value in members.items():
                setattr(cls, member, value)
        return cls

    def _make(cls, number: int) -> Any:
        made: Any = object.__new__(cls)  # type: ignore[arg-type]
        object.__setattr__(made, "_number", number)
        return made

    def __getattr__(cls, name: str) -> Any:
        wanted = name.casefold()
        known: dict[str, Any] = next((dict_ for base in cls.__mro__ if (dict_ := base.__dict__.get("__members__"))), {})
        meant = next((member for member in known if member.casefold() == wanted), "")
        hint = f"; did you mean {cls.__name__}.{meant}?" if meant else ""
        raise AttributeError(f"type object {cls.__name__!r} has no attribute {name!r}{hint}")


class BoundEnum(metaclass=BoundEnumType):
    """A member. ``Type(number)`` makes one from a number, ``int(member)`` gives it back."""

    __slots__ = ("_number",)
    _number: int

    def __init__(self, value: int) -> None:
        """Take the number of a member."""
        object.__setattr__(self, "_number", int(value))

    @property
    def value(self) -> int:
        """The number."""
        return self._number

    @property
    def name(self) -> str:
        """The member's name; ``???`` for a number that is none."""
        for name, member in type(self).__members__.items():
            if member._number == self._number:
                return name
        return "???"

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"members of {type(self).__name__} cannot be changed")

    def __int__(self) -> int:
        return self._number

    __index__ = __int__

    def __eq__(self, other: object) -> bool:
        if isinstance(other, BoundEnum):
            related = isinstance(other, type(self)) or isinstance(self, type(other))
            return related and other._number == self._number
        return isinstance(other, int) and other == self._number

    def __hash__(self) -> int:
        return self._number

    def __str__(self) -> str:
        return f"{type(self).__name__}.{self.name}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__}.{self.name}: {self._number}>"

    def __reduce__(self) -> tuple[type[Self], tuple[int]]:
        return type(self), (self._number,)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self
