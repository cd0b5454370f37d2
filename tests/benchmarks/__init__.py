"""What maps and rankings cost, side by side with what else a user could use."""

import os

# Set before torch is loaded: threads that wait in a busy loop make each other wait where the
# machine is shared, and slow down small layers fivefold.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
