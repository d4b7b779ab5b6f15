"""rangefs mounts remote object storage as a local directory.

A read-only FUSE filesystem that is a range-aware caching client. The folders
are the layers: ``core`` (pure), ``store`` (the cache on disk), ``sources``
(upstreams), ``read`` (flights and the reader), ``fs`` (the mount), ``ops``
(figures, control, logs) and ``cli``. ``tests/test_layering.py`` holds the
arrows between them.
"""

__version__ = "0.1.0"
