"""Checks of a reader's answers: every `check_*` returns a `Verdict`, and raises none."""

from .checking import NotYet, Verdict, expect
from .dynamics import (
    check_break_even,
    check_episodes_needed,
    check_fewest_steps,
    check_follow,
    check_heun_step,
    check_largest_step,
    check_leak,
    check_look_share,
    check_most_helped,
    check_nearest_mean,
    check_paired,
    check_piece_velocity,
    check_query_rule,
    check_row_bias,
    check_share,
    check_value_biases,
)
from .heads import check_chosen, check_mean_head
from .networks import (
    check_barrier,
    check_columns,
    check_coupling,
    check_iou,
    check_kl,
    check_swap_units,
)
from .own import check_on_white, check_row_state
from .retrieval import check_diagonal, check_label_vectors, check_set_vector
from .through import check_equal_steps, check_stopped_walk

__all__ = [
    "NotYet",
    "Verdict",
    "check_barrier",
    "check_break_even",
    "check_chosen",
    "check_columns",
    "check_coupling",
    "check_diagonal",
    "check_episodes_needed",
    "check_equal_steps",
    "check_fewest_steps",
    "check_follow",
    "check_heun_step",
    "check_iou",
    "check_kl",
    "check_label_vectors",
    "check_largest_step",
    "check_leak",
    "check_look_share",
    "check_mean_head",
    "check_most_helped",
    "check_nearest_mean",
    "check_on_white",
    "check_paired",
    "check_piece_velocity",
    "check_query_rule",
    "check_row_bias",
    "check_row_state",
    "check_set_vector",
    "check_share",
    "check_stopped_walk",
    "check_swap_units",
    "check_value_biases",
    "expect",
]
