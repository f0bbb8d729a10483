"""hyperlab: learned fine-tuning dynamics, to read, to step and to measure.

The rooms, from the ground up: `base`, `params`, `nn`, `interpolants`, `solvers`; `tasks`; `models`;
`hyperflow`; `study`; `views`; `apps`; `exercises`. Each imports only from the rooms before it.
"""

import os
import sys

# pip asks for the version; a kernel that finds the folder by itself does not
if sys.version_info < (3, 11):  # noqa: UP036
    raise ImportError(
        f"hyperlab needs Python 3.11 or newer, this is {sys.version.split()[0]}: "
        "run `make lab PYTHON=python3.12`, or choose another kernel"
    )

# Threads that wait for each other sleep; OpenMP reads this when torch is loaded. By default they
# spin, and on busy cores a solver of tiny networks then takes a hundred times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
