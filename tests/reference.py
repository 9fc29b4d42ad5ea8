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
    """Adebayo et al. 2018a, biased: E[g^2] - E[g]^2."""
    gradients = np.array([gradient(x + t) for t in noise])
    return (gradients**2).mean(0) - gradients.mean(0) ** 2


def mollified(gradient, x, noise, ratios):
    """Zhou et al. 2024b (smoothing kernels), equation 17: ratios are phi(t) / p(t)."""
    return np.mean([w * gradient(x - t) for t, w in zip(noise, ratios, strict=True)], axis=0)


def adaptive_sigma(x, low, high, divisor):
    """Zhou et al. 2024a (AdaptGrad), equation 13, with sqrt(2) erfinv(q) as the divisor."""
    return np.minimum(np.abs(x - low), np.abs(x - high)) / divisor


def roughness(rho):
    """Mean squared error of the trapezoid rule over an interval, by the increments' correlation."""
    return (1 - rho) / (12 * (1 + max(rho, -0.9)) ** 2)


def path_error(values, alphas):
    """The stated error of the trapezoid rule, and the bridges' correlation."""
    bridges = [
        (b - a) * (v - u)
        for a, b, u, v in zip(values, values[1:], alphas, alphas[1:], strict=False)
    ]
    sizes = [np.sum(b * b) for b in bridges]
    pairs = [
        (i, np.sum(bridges[i] * bridges[i + 1]), (sizes[i] + sizes[i + 1]) / 2)
        for i in range(len(bridges) - 1)
    ]

    def correlation(chosen):
        size = sum(p[2] for p in chosen)
        return sum(p[1] for p in chosen) / size if size else 0.0

    largest = int(np.argmax(sizes))
    own = min(correlation([p for p in pairs if p[0] in (largest - 1, largest)]), 0)
    rho = correlation(pairs)
    return np.sqrt(roughness(rho) * sum(sizes) + 2 * roughness(own) * sizes[largest]), rho


def greedy_bisection(function, first, count):
    """Positions after bisecting, one at a time, the interval with the largest |df| h."""
    alphas = list(np.linspace(0, 1, first) ** 2)
    while len(alphas) < count:
        values = [function(a) for a in alphas]
        worth = [
            np.linalg.norm(np.subtract(values[i + 1], values[i])) * (alphas[i + 1] - alphas[i])
            for i in range(len(alphas) - 1)
        ]
        i = int(np.argmax(worth))
        alphas.insert(i + 1, (alphas[i] + alphas[i + 1]) / 2)
    return np.array(alphas)


def excitation(weights, x, target, start=None):
    """Zhang et al. 2016, equations 2 to 5, for a chain of dense ReLU layers without biases."""
    activations = [x]
    for w in weights[:-1]:
        activations.append(np.maximum(activations[-1] @ w, 0))
    probability = np.eye(weights[-1].shape[1])[target] if start is None else start
    for w, a in zip(weights[::-1], activations[::-1], strict=True):
        passed = np.zeros(len(a))
        for i, p in enumerate(probability):
            positive = a * np.maximum(w[:, i], 0)
            if positive.sum() > 0:
                passed += p * positive / positive.sum()
        probability = passed
    return probability


def contrastive_excitation(weights, x, target):
    """Zhang et al. 2016: the class's probabilities less those of its opposite, below the top."""
    hidden = x
    for w in weights[:-1]:
        hidden = np.maximum(hidden @ w, 0)
    excited = excitation(weights[-1:], hidden, target)
    inhibited = excitation([-weights[-1]], hidden, target)
    return excitation(weights[:-1], x, None, start=excited - inhibited)


def conv_one_excitation(image):
    """Excitation backprop of ConvOne, all of whose kernels are ones, or 1 and -1.

    ConvOne: docs/methods.md, Published values that the tests reproduce.
    """
    summed = np.array([[image[i : i + 3, j : j + 3].sum() for j in (0, 1)] for i in (0, 1)])
    units = np.stack([np.maximum(summed - 50, 0), np.maximum(summed - 75, 0)]).ravel()
    units[5:] = 0  # their weights in the last layer are negative
    probability = (units / units.sum()).reshape(2, 2, 2).sum(0)
    result = np.zeros((4, 4))
    for i in (0, 1):
        for j in (0, 1):
            window = image[i : i + 3, j : j + 3]
            result[i : i + 3, j : j + 3] += probability[i, j] * window / window.sum()
    return result


def patterns(x, w, b, estimator="relu"):
    """Kindermans et al. 2018, equation 7, one neuron at a time (docs/methods.md, Patterns).

    Rows ``x [N, D]``, ``w [D, O]``, ``b [O]``; "relu_printed" is equation 2 of Schwarzenberg and
    Castle 2020.
    """
    result = np.zeros_like(w)
    for o in range(w.shape[1]):
        y = x @ w[:, o] + b[o]
        seen = np.ones_like(y, bool) if estimator == "linear" else y > 0
        if not seen.any():
            continue
        mean = y[seen].mean() if estimator == "relu_printed" else y.mean()
        numerator = (x[seen] * y[seen, None]).mean(0) - x[seen].mean(0) * mean
        result[:, o] = numerator / (w[:, o] @ numerator)
    return result


def windows(x, kernel, stride=1, same=False):
    """The inputs ``[N, kh kw C]`` of a convolution at all positions of all images."""
    kh, kw = kernel
    if same:
        out = [-(-n // stride) for n in x.shape[1:3]]
        total = [
            max((o - 1) * stride + k - n, 0)
            for o, k, n in zip(out, kernel, x.shape[1:3], strict=True)
        ]
        x = np.pad(x, [(0, 0), *[(t // 2, t - t // 2) for t in total], (0, 0)])
    rows = []
    for image in x:
        for i in range(0, image.shape[0] - kh + 1, stride):
            for j in range(0, image.shape[1] - kw + 1, stride):
                rows.append(image[i : i + kh, j : j + kw].ravel())
    return np.array(rows)


def pattern_attribution(x, layers, patterns, target):
    """Kindermans et al. 2018, section 4, for dense ReLU layers ``(w, b)`` and a linear last one.

    The score starts at the output; W ⊙ a takes W's place; ReLUs have their ordinary gradient.
    """
    activations = [x]
    for w, b in layers:
        activations.append(np.maximum(activations[-1] @ w + b, 0))
    w, b = layers[-1]
    logits = activations[-2] @ w + b
    back = np.where(np.arange(len(logits)) == target, logits, 0)
    for i in reversed(range(len(layers))):
        if i < len(layers) - 1:
            back = back * (activations[i + 1] > 0)
        back = (layers[i][0] * patterns[i]) @ back
    return back


def convolution_matrix(kernel, size):
    """A valid convolution of ``[size, size, C]`` images as a matrix ``[inputs, outputs]``."""
    kh, kw, channels, filters = kernel.shape
    out = size - kh + 1
    matrix = np.zeros((size, size, channels, out, out, filters))
    for i in range(out):
        for j in range(out):
            matrix[i : i + kh, j : j + kw, :, i, j] = kernel
    return matrix.reshape(size * size * channels, out * out * filters)


def second_order(w, p, target):
    """Singla et al. 2019, section 3.1: g = W (p - y), H = W (diag p - p p^T) W^T, W [d, c]."""
    y = np.eye(len(p))[target]
    return w @ (p - y), w @ (np.diag(p) - np.outer(p, p)) @ w.T


def second_order_of_dense(layers, x, target, activation):
    """g and H of the cross-entropy of a chain of dense layers ``(w, b)``, in float64."""
    values, slopes, bends = {
        "relu": (lambda u: np.maximum(u, 0), lambda u: 1.0 * (u > 0), np.zeros_like),
        "elu": (
            lambda u: np.where(u > 0, u, np.expm1(np.minimum(u, 0))),
            lambda u: np.exp(np.minimum(u, 0)),
            lambda u: np.where(u > 0, 0, np.exp(np.minimum(u, 0))),
        ),
    }[activation]
    layers = [[np.asarray(part, "float64") for part in layer] for layer in layers]
    here, jacobian, hidden = np.asarray(x, "float64"), np.eye(len(x)), []
    for w, b in layers[:-1]:
        u, jacobian = here @ w + b, jacobian @ w
        hidden.append((jacobian, u))
        here, jacobian = values(u), jacobian * slopes(u)
    w, b = layers[-1]
    z = here @ w + b
    p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
    g, h = second_order(jacobian @ w, p, target)
    back = w @ (p - np.eye(len(p))[target])
    for (j, u), (w, _) in zip(hidden[::-1], layers[-2::-1], strict=True):
        h += (j * (back * bends(u))) @ j.T
        back = w @ (back * slopes(u))
    return g, h


def caso_objective(g, h, delta, lambda1, lambda2):
    """Singla et al. 2019, section 3: what CASO maximises (docs/methods.md, CAFO and CASO)."""
    smooth = g @ delta + delta @ h @ delta / 2
    return smooth - lambda1 * np.abs(delta).sum() - lambda2 * delta @ delta


def soft_threshold(x, threshold):
    return np.sign(x) * np.maximum(np.abs(x) - threshold, 0)


def cafo(g, lambda1, lambda2):
    """Singla et al. 2019, appendix A.5 (docs/methods.md, CAFO and CASO)."""
    return soft_threshold(g, lambda1) / (2 * lambda2)


def caso(g, h, lambda1, lambda2, iterations=20000):
    """Singla et al. 2019, by plain proximal gradients; for lambda1 = 0 in closed form."""
    if lambda1 == 0:
        return np.linalg.solve(2 * lambda2 * np.eye(len(g)) - h, g)
    length = 1 / (2 * lambda2 - min(np.linalg.eigvalsh(h)[0], 0))
    delta = np.zeros_like(g)
    for _ in range(iterations):
        before = delta
        uphill = g + h @ delta - 2 * lambda2 * delta
        delta = soft_threshold(delta + length * uphill, length * lambda1)
        if np.abs(delta - before).max() < 1e-15:
            break
    return delta


def published_fista(g, h, lambda1, weight, iterations=10, lr=0.1):
    """The code of Singla et al. 2019, line by line; `weight` is its lambda' = 2 lambda2."""

    def smooth(d):
        return -g @ d - d @ h @ d / 2 + weight / 2 * d @ d

    before = delta = np.zeros_like(g)
    for k in range(1, iterations + 1):
        v = delta + (k - 2) / (k + 1) * (delta - before)
        slope = weight * v - g - h @ v
        t = lr
        while True:
            after = soft_threshold(v - t * slope, t * lambda1)
            moved = after - v
            if smooth(after) <= smooth(v) + slope @ moved + moved @ moved / (2 * t):
                break
            t /= 2
        before, delta = delta, after
    return delta


def sweep(eta):
    """The sweep of Singla et al. 2019: lambda1 by a function from it to the share of zeros.

    How "the highest loss" is read: docs/methods.md, CAFO and CASO.
    """
    tried, value = [], 1e-5
    while eta(value) < 1:
        tried.append(value)
        value *= 10
    sparse = [v for v in tried if eta(v) >= 0.75]
    if sparse:
        return sparse[0]
    below = tried[-1] if tried else 0
    found = []
    while len(found) < 8:
        value /= 2
        if eta(value) < 1:
            found.append(value)
    sparse = [v for v in found if eta(v) >= 0.75 and v > below]
    return sparse[-1] if sparse else found[0]
