"""One module per command of :mod:`memgan.apps.cli.main`; importing one loads nothing heavy, running it does."""
