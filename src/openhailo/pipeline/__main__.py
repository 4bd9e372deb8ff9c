"""``python -m openhailo.pipeline``: put every demo model and photo into the cache, for set-up and CI."""

from __future__ import annotations

import sys

from openhailo.errors import OpenHailoError
from openhailo.pipeline.catalogue import MODELS
from openhailo.pipeline.models import demo_model, demo_photos, demo_task


def main() -> int:
    """Fetch and convert; 0 if all is there."""
    try:
        for path in demo_photos().values():
            print(path)
        for name in MODELS:
            print(demo_model(name))
            demo_task(name)
    except OpenHailoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
