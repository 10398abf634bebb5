"""What a run has to meet, and what has to be known of it for that, from the inputs. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coval_gate.collect import Needs
from coval_gate.judge.gate import Criteria, Forbidden

if TYPE_CHECKING:
    from coval_gate.inputs import Inputs


def asked(inputs: Inputs) -> tuple[Criteria, Needs]:
    """What the run has to meet, and what has to be known of it for that.

    What a run that was launched elsewhere is made of, the inputs do not say.
    """
    launched_here = inputs.mode == "run"
    mutations = len(inputs.mutation_ids) + bool(inputs.mutation_id) if launched_here else 0
    criteria = Criteria(
        max_failed=inputs.max_failed_simulations,
        min_simulations=inputs.min_simulations,
        thresholds=inputs.thresholds,
        use_metric_targets=inputs.use_metric_targets,
        forbidden=Forbidden(metric=inputs.fail_on_metric_id, value=inputs.fail_on_metric_value)
        if inputs.fail_on_metric_id
        else None,
        metric_ids=inputs.metric_ids if launched_here else (),
        mutations=mutations,
    )
    needs = Needs(
        references=criteria.references,
        targets=criteria.needs_targets,
        simulations=max(1, launched_here * len(inputs.test_case_ids) * inputs.iteration_count * (1 + mutations)),
    )
    return criteria, needs
