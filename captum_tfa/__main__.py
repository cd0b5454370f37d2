"""``python -m captum_tfa``: the same as the command ``captum-tfa``."""

import sys

from captum_tfa.cli.main import main

sys.exit(main())
