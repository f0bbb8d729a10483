"""Protocols by name: how an episode is drawn, and how many make a table."""

from dataclasses import dataclass, replace
from functools import partial

from .episodes import CDFSL, CDFSL_EPISODES, COURSE_RULES, Draw, sample, sample_variable


@dataclass(frozen=True)
class Protocol:
    """How an episode is drawn from a domain, and the number of episodes a domain."""

    draw: Draw
    n_tasks: int


SMALLER_RULES = replace(COURSE_RULES, max_support_set_size=160)
PROTOCOLS = {
    "variable": Protocol(partial(sample_variable, rules=COURSE_RULES), 200),
    "smaller": Protocol(partial(sample_variable, rules=SMALLER_RULES), 200),
    "5-way 1-shot": Protocol(partial(sample, n_way=5, n_shot=1, n_query=15), 200),
    "5-way 5-shot": Protocol(partial(sample, n_way=5, n_shot=5, n_query=15), 200),
    "5-way 20-shot": Protocol(partial(sample, n_way=5, n_shot=20, n_query=15), 200),
    "Meta-Dataset": Protocol(sample_variable, 600),
    **{
        f"CDFSL {n_shot}-shot": Protocol(partial(sample, **sizes), CDFSL_EPISODES)
        for n_shot, sizes in CDFSL.items()
    },
}
