"""Conditions that only one kind of step asks for (the rest are in `steps`)."""

from __future__ import annotations

from dataclasses import dataclass

from .machine import packages
from .tree import Tree


@dataclass(frozen=True)
class HasHeaders:
    """Modules can be built for a kernel."""

    kernel: str

    def missing(self, tree: Tree) -> str:
        """See `openhailo.setup.steps.Condition`."""
        there = tree.exists(f"/lib/modules/{self.kernel}/build/Makefile")
        return "" if there else f"kernel {self.kernel} has no headers"


@dataclass(frozen=True)
class PackageVersion:
    """A package is installed in one version."""

    name: str
    version: str

    def missing(self, tree: Tree) -> str:
        """See `openhailo.setup.steps.Condition`."""
        found = packages(tree).get(self.name)
        if found is None:
            return f"{self.name} is not installed"
        return "" if found[0] == self.version else f"{self.name} is {found[0]}"


@dataclass(frozen=True)
class Dkms:
    """DKMS has built a module for a kernel; the folder is there once it has (the link ``source`` once it is added)."""

    name: str
    version: str
    kernel: str

    def missing(self, tree: Tree) -> str:
        """See `openhailo.setup.steps.Condition`."""
        folder = f"/var/lib/dkms/{self.name}/{self.version}"
        if not tree.exists(f"{folder}/source"):
            return f"DKMS does not know {self.name}/{self.version}"
        built = tree.names(f"{folder}/{self.kernel}")
        return "" if built else f"{self.name}/{self.version} is not built for {self.kernel}"


@dataclass(frozen=True)
class HasLine:
    """A file has a line, comments and spaces around it left out."""

    path: str
    line: str

    def missing(self, tree: Tree) -> str:
        """See `openhailo.setup.steps.Condition`."""
        lines = [line.partition("#")[0].strip() for line in tree.text(self.path).splitlines()]
        return "" if self.line in lines else f"{self.path} has no line {self.line}"
