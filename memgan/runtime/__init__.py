"""Serves every room: devices, threads, prefetching, atomic files, checks of options, progress and tables."""
