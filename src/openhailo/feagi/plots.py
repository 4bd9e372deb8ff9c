"""Pictures of what fired: a raster of spikes, and rates over time (package ``matplotlib``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from openhailo.errors import InputError

#: More dots than this only make the file large.
MAX_DOTS: Final = 200_000


def save_raster(
    fired: Sequence[npt.NDArray[np.uint32]], path: str | Path, *, neurons: int, rate_hz: float = 0.0, title: str = ""
) -> None:
    """Write a picture of the bursts ``fired`` (ids per burst): one dot a spike above, firing rate below.

    ``neurons`` is how many there are; with ``rate_hz`` the axis is in seconds. Of very many spikes every so-and-so-many
    is drawn; the rate counts all.

    Raises:
        InputError: nothing to draw, or a type of file that there is not.
    """
    if not fired or neurons < 1:
        raise InputError(what="raster", detail="no bursts to draw")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    when, who, step = _dots(fired)
    scale = 1.0 / rate_hz if rate_hz else 1.0
    figure: Any = Figure(figsize=(9, 6), layout="constrained")
    canvas: Any = FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.plot(when * scale, who, ",k" if len(who) > 20_000 else ".k", markersize=2)
    above.set(ylabel="neuron", ylim=(-1, neurons), title=title + (f" (every {step}th spike)" if step > 1 else ""))
    part = np.array([len(each) for each in fired]) / neurons * 100
    below.plot(np.arange(len(fired)) * scale, part, "k", linewidth=0.8)
    below.set(xlabel="s" if rate_hz else "burst", ylabel="firing, %", ylim=(0, None))
    try:
        canvas.print_figure(str(path), dpi=120)
    except ValueError as error:
        raise InputError(what=str(path), detail=str(error).splitlines()[0]) from error


def _dots(fired: Sequence[npt.NDArray[np.uint32]]) -> tuple[npt.NDArray[Any], npt.NDArray[Any], int]:
    """Return burst and neuron of each dot, and every how-manieth spike that is."""
    step = max(1, -(-sum(len(each) for each in fired) // MAX_DOTS))
    when = np.repeat(np.arange(len(fired)), [len(each) for each in fired])[::step]
    return when, np.concatenate(list(fired))[::step], step
