"""One module per command of :mod:`memgan.cli`; importing one loads nothing heavy, running it does."""
