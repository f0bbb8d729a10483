"""hyperlab: learned fine-tuning dynamics, to read, to step and to measure.

The rooms, from the ground up: `base`, `params`, `nn`, `interpolants`, `solvers`; `tasks`; `models`;
`hyperflow`; `study`; `views`; `exercises`. Each imports only from the rooms before it.
"""

__version__ = "0.1.0"
