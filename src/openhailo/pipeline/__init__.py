"""From a picture on disk to a result: demo models, sources, preprocessing, inference and decoding put together."""
