import sys

from torchd_export.cli import main

sys.exit(main())
