"""One module for each surface; `tests.fuzz.surface.SHARES` lists them."""
