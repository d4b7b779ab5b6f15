"""The cache on disk: chunk files, manifest, space. Every blocking call runs in a worker thread."""
