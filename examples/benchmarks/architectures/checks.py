"""Which check each method has.

A check is a function (record) -> relative error, or None where it cannot be made for the network.
It computes what the method gives, or a law of it, on the network's float64 twin, by Keras,
TensorFlow and numpy.
"""

import gradient_checks
import mask_checks
import rule_checks

CHECKS = {
    "gradient": gradient_checks.gradient,
    "gradient_times_input": gradient_checks.gradient_times_input,
    "integrated_gradients": gradient_checks.completeness,
    "integrated_gradients, midpoint": gradient_checks.midpoint,
    "expected_gradients": gradient_checks.expected_gradients,
    "smoothgrad": gradient_checks.smoothgrad,
    "smoothgrad_squared": gradient_checks.smoothgrad_squared,
    "vargrad": gradient_checks.vargrad,
    "adaptgrad": gradient_checks.adaptgrad,
    "noisegrad": gradient_checks.noisegrad,
    "fusiongrad": gradient_checks.fusiongrad,
    "cafo": gradient_checks.cafo,
    "caso": gradient_checks.caso,
    "guided_backprop": rule_checks.guided_backprop,
    "deconvnet": rule_checks.deconvnet,
    "excitation_backprop": rule_checks.excitation_backprop,
    "grad_cam": rule_checks.grad_cam,
    "guided_grad_cam": rule_checks.guided_grad_cam,
    "pattern_net": rule_checks.pattern_net,
    "pattern_attribution": rule_checks.pattern_attribution,
    "pattern_guided_integrated_gradients": rule_checks.pattern_guided,
    "igos": mask_checks.optimised_mask,
    "meaningful_perturbation": mask_checks.optimised_mask,
    "rise": mask_checks.rise,
    "occlusion": mask_checks.occlusion,
    "random_attribution": gradient_checks.random_attribution,
}
