"""The mount: inodes and folders, thin pyfuse3 handlers, wiring."""
