"""The equations, slowly, in numpy: one example, one gradient at a time."""

import numpy as np


def riemann_integrated_gradients(gradient, x, baseline, steps):
    """Sundararajan et al. 2017, equation 3: the sum over k = 1..m."""
    total = np.zeros_like(x)
    for k in range(1, steps + 1):
        total += gradient(baseline + k / steps * (x - baseline))
    return (x - baseline) * total / steps


def weighted_integrated_gradients(gradient, x, baseline, nodes, weights):
    """The same with any quadrature."""
    points = [baseline + a * (x - baseline) for a in nodes]
    return (x - baseline) * sum(w * gradient(p) for w, p in zip(weights, points, strict=True))


def expected_gradients(gradient, x, draws):
    """Erion et al. 2021, equation 3, for given draws (x', alpha)."""
    return np.mean([(x - b) * gradient(b + a * (x - b)) for b, a in draws], axis=0)


def smoothgrad(gradient, x, noise):
    """Smilkov et al. 2017, section 3, for given noise."""
    return np.mean([gradient(x + t) for t in noise], axis=0)


def smoothgrad_squared(gradient, x, noise):
    """Hooker et al. 2019: E[g^2]."""
    return np.mean([gradient(x + t) ** 2 for t in noise], axis=0)


def vargrad(gradient, x, noise):
    """Adebayo et al. 2018, biased (METHODS 1.7): E[g^2] - E[g]^2."""
    gradients = np.array([gradient(x + t) for t in noise])
    return (gradients**2).mean(0) - gradients.mean(0) ** 2


def bridge_error(values, alphas):
    """The error of the trapezoid rule if the integrand is a random walk (tfxai.path)."""
    return np.sqrt(
        sum(
            np.sum((b - a) ** 2) * (v - u) ** 2 / 12
            for a, b, u, v in zip(values, values[1:], alphas, alphas[1:], strict=False)
        )
    )


def greedy_bisection(function, first, count):
    """Positions after bisecting, one at a time, the interval with the largest |df| h."""
    alphas = list(np.linspace(0, 1, first))
    while len(alphas) < count:
        values = [function(a) for a in alphas]
        worth = [
            np.linalg.norm(np.subtract(values[i + 1], values[i])) * (alphas[i + 1] - alphas[i])
            for i in range(len(alphas) - 1)
        ]
        i = int(np.argmax(worth))
        alphas.insert(i + 1, (alphas[i] + alphas[i + 1]) / 2)
    return np.array(alphas)
