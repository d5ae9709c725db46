"""What every room may use: devices, threads, files written whole, checks of options."""
