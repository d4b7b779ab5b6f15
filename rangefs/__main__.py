"""``python -m rangefs``."""

import sys

from rangefs.cli.main import main

sys.exit(main())
