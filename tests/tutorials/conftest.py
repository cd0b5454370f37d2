"""The tutorials import their helpers from the folder they stand in: so do the tests."""

import sys

from tests.tutorials.running import TUTORIALS

sys.path.insert(0, str(TUTORIALS))
