"""How the tasks of an evaluation are drawn, by name: the benchmarks' protocols and quicker ones."""

from dataclasses import dataclass, replace
from functools import partial

from . import own
from .episodes import (
    CDFSL,
    CDFSL_EPISODES,
    COURSE_RULES,
    OFFICIAL_RULES,
    Draw,
    sample,
    sample_variable,
)


@dataclass(frozen=True)
class Protocol:
    """A way to draw episodes, and how many of them make a result."""

    draw: Draw
    n_tasks: int  # episodes of a domain
    max_support: int = 250  # images


SMALLER_RULES = replace(COURSE_RULES, max_support_set_size=160)
QUICK = 200  # episodes of a domain
PROTOCOLS = {
    "variable": Protocol(  # 5 to 20 ways, 50 to 250 support images
        partial(sample_variable, rules=COURSE_RULES), QUICK
    ),
    "smaller": Protocol(  # the same with at most 160, cheaper to record
        partial(sample_variable, rules=SMALLER_RULES), QUICK
    ),
    "5-way 1-shot": Protocol(partial(sample, n_way=5, n_shot=1, n_query=15), QUICK),
    "5-way 5-shot": Protocol(partial(sample, n_way=5, n_shot=5, n_query=15), QUICK),
    "5-way 20-shot": Protocol(partial(sample, n_way=5, n_shot=20, n_query=15), QUICK),
    # 5-way 5-shot with 15 queries, or as much of that as the classes have images for
    "own": Protocol(own.draw, QUICK, 25),
    # Source: Triantafillou et al. 2020, arXiv:1903.03096, section 4. Classes come through the
    # domain's hierarchy or groups where it has any: ILSVRC-2012's and Omniglot's.
    "Meta-Dataset": Protocol(partial(sample_variable, rules=OFFICIAL_RULES), 600, 500),
    **{
        f"CDFSL {n_shot}-shot": Protocol(partial(sample, **sizes), CDFSL_EPISODES)
        for n_shot, sizes in CDFSL.items()
    },
}
