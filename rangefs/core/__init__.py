"""The pure core: synchronous, no clock, no files, no sockets, no trio. Time is an argument."""
