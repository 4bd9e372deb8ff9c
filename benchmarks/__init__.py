"""Speed against peers and limits that are measured in the same run; `python -m benchmarks` runs all of it."""
