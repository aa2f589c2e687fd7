"""Makes torchd repository entries out of PyTorch classifiers. export/README.md is the manual.

No module here imports torch at its top: an entry that is there already must cost milliseconds.
"""

# Raised whenever an entry made by the code before it should be made again.
EXPORTER_VERSION = "1"


class ExportError(Exception):
    """What the user is told, in one line, before exit code 1."""
