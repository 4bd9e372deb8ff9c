"""What this machine's memory allows."""

from openhailo_native._burst import latency_ns, read_gb_s, scatter_ns

__all__ = ["latency_ns", "read_gb_s", "scatter_ns"]
