"""Pictures in, results out: resizing, box arithmetic, decoders of network outputs, suppression and drawing.

This floor knows arrays only: no device, no HEF.  NumPy is enough for everything but reading, writing and drawing
pictures, which take OpenCV (``pip install 'openhailo[vision]'``).
"""
