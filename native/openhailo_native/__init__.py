"""The compiled burst engine. Use it through ``openhailo.burst``, which checks what goes in and names what comes out."""

from openhailo_native._burst import Engine, kernels

__all__ = ["Engine", "kernels"]
