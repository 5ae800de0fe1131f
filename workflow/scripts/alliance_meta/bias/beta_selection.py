"""The beta selection model: publication as a smooth function of the p-value."""

import numpy as np
from numpy.typing import NDArray
from scipy import special

from alliance_meta.bias.selection_likelihood import Normaliser

Array = NDArray[np.float64]

# p-values nearer to 0 or 1 count as this, where the weights would be infinite
SMALLEST_P = 1e-5
# Gauss–Legendre points over the z values between, where the integrand is smooth and the normal
# density has a standard deviation of 1 at least
POINTS = 64
# bound of the shapes in metafor's selmodel as well: below it the likelihood no longer changes
SMALLEST_SHAPE = 1e-5


class BetaWeights:
    """Weights ``p^(δ₁ − 1) (1 − p)^(δ₂ − 1)``.

    Parameters
    ----------
    z, sigma
        Effects over their standard errors, and standard errors, shape (k,).
    two_sided
        Whether the p-values are two-sided; otherwise small for large effects.

    Notes
    -----
    Citkowicz & Vevea (2017, Psychological Methods 22, 28–41); p-values are censored at 1e-5
    and 1 − 1e-5 as there. The shape parameters are log δ₁ and log δ₂.
    """

    n_shapes = 2
    smallest = SMALLEST_SHAPE

    def __init__(self, z: Array, sigma: Array, *, two_sided: bool) -> None:
        self.sigma = sigma
        logs = _log_p(z, two_sided=two_sided)
        self.logs = np.stack(logs)[:, None, :]
        nodes, node_weights = np.polynomial.legendre.leggauss(POINTS)
        if two_sided:
            inner = -float(special.ndtri((1 - SMALLEST_P) / 2))
            outer = -float(special.ndtri(SMALLEST_P / 2))
            # near z = 0 the weight is a power of z: smooth in log z
            low, high = np.log(inner), np.log(outer)
            positive = np.exp((low + high) / 2 + (high - low) / 2 * nodes)
            nodes = np.concatenate([positive, -positive])
            node_weights = (high - low) / 2 * np.tile(node_weights, 2) * np.tile(positive, 2)
            self.boundaries = np.array([-outer, -inner, inner, outer])
            ends = np.array([SMALLEST_P, 1 - SMALLEST_P, SMALLEST_P])
        else:
            outer = -float(special.ndtri(SMALLEST_P))
            nodes, node_weights = outer * nodes, outer * node_weights
            self.boundaries = np.array([-outer, outer])
            ends = np.array([1 - SMALLEST_P, SMALLEST_P])
        self.nodes, self.node_weights = nodes, node_weights
        self.node_logs = np.stack(_log_p(nodes, two_sided=two_sided))
        # p-values where the weight is constant
        self.end_logs = np.stack([np.log(ends), np.log1p(-ends)])

    def log_weights(self, shapes: Array) -> tuple[Array, Array, Array]:
        """Return log weights of the effects and their derivatives."""
        delta = np.exp(shapes).T[:, :, None]
        first = delta * self.logs
        return ((delta - 1) * self.logs).sum(axis=0), first, first

    def normalise(self, mu: Array, total: Array, shapes: Array) -> Normaliser:
        """Return A by quadrature between the censoring points and in closed form beyond."""
        delta = np.exp(shapes)
        scale = np.sqrt(total)
        inside = np.exp((delta - 1) @ self.node_logs) * self.node_weights
        beyond = np.exp((delta - 1) @ self.end_logs)
        # weight functions to integrate: w, and its derivatives in the shapes
        functions = [inside] + [inside * delta[:, [j]] * self.node_logs[j] for j in range(2)]
        ends = [beyond] + [beyond * delta[:, [j]] * self.end_logs[j] for j in range(2)]
        for i, j in ((0, 0), (0, 1), (1, 1)):
            same = functions[1 + i] if i == j else 0.0
            functions.append(functions[1 + i] * delta[:, [j]] * self.node_logs[j] + same)
            same = ends[1 + i] if i == j else 0.0
            ends.append(ends[1 + i] * delta[:, [j]] * self.end_logs[j] + same)
        integrand = np.stack(functions, axis=1)
        constants = np.stack(ends, axis=1)

        a, b = self.sigma / scale, mu / scale
        density = a[:, :, None] * self.nodes
        density -= b[:, :, None]
        np.square(density, out=density)
        density *= -0.5
        np.exp(density, out=density)
        # dy = σ dz
        size = (a / np.sqrt(2 * np.pi))[:, :, None]
        # a Hermite polynomial of u is one of z: its integral is a sum of moments in z
        tails = self._tails(mu, scale, constants)
        columns = [integrand, *(integrand[:, :3] * self.nodes**m for m in (1, 2))]
        columns += [integrand[:, :1] * self.nodes**m for m in (3, 4)]
        functions_of_z = np.ascontiguousarray(np.swapaxes(np.concatenate(columns, axis=1), 1, 2))
        moments = np.matmul(density, functions_of_z) * size
        zeroth = moments[:, :, :6] + tails[0]
        m0, m1, m2 = moments[:, :, :3], moments[:, :, 6:9], moments[:, :, 9:12]
        a3, b3 = a[:, :, None], b[:, :, None]
        first = a3 * m1 - b3 * m0
        second = a3 * a3 * m2 - 2 * a3 * b3 * m1 + b3 * b3 * m0
        n0, n1, n2, n3, n4 = (moments[:, :, column] for column in (0, 6, 9, 12, 13))
        cube = a**3 * n3 - 3 * a**2 * b * n2 + 3 * a * b**2 * n1 - b**3 * n0
        fourth = a**4 * n4 - 4 * a**3 * b * n3 + 6 * a**2 * b**2 * n2 - 4 * a * b**3 * n1
        fourth += b**4 * n0
        fourth += 3 * n0 - 6 * second[:, :, 0]
        third = cube - 3 * first[:, :, 0]
        scale3 = scale[:, :, None]
        second = (second - m0) / scale3**2 + tails[2][:, :, :3]
        first = first / scale3 + tails[1][:, :, :3]
        third = third / scale**3 + tails[3][:, :, 0]
        fourth = fourth / scale**4 + tails[4][:, :, 0]

        A = zeroth[:, :, 0]
        means = (first[:, :, 0] / A, second[:, :, 0] / A, third / A, fourth / A)
        parts = np.stack([zeroth[:, :, 1:3], first[:, :, 1:], second[:, :, 1:]])
        parts = parts.transpose(3, 0, 1, 2) / A
        doubles = zeroth[:, :, 3:].transpose(2, 0, 1) / A
        pairs = np.stack([[doubles[0], doubles[1]], [doubles[1], doubles[2]]])
        return Normaliser(np.log(A), means, parts, pairs)

    def _tails(self, mu: Array, scale: Array, constants: Array) -> list[Array]:
        """Return what the regions of constant weight add, and its derivatives in the mean.

        Each entry has shape (B, k, functions).
        """
        shape = (*mu.shape, constants.shape[1])
        result = [np.zeros(shape) for _ in range(5)]
        for m, boundary in enumerate(self.boundaries):
            # regions of constant weight end at even boundaries and begin at odd ones
            ending = m % 2 == 0
            level = constants[:, :, (m + 1) // 2][:, None, :]
            u = (boundary * self.sigma - mu) / scale
            sign = 1.0 if ending else -1.0
            outermost = m in (0, len(self.boundaries) - 1)
            share = special.ndtr(sign * u) if outermost else sign * special.ndtr(u)
            result[0] += level * share[:, :, None]
            density = np.exp(-0.5 * u * u) / np.sqrt(2 * np.pi)
            hermite = (density, u * density, (u * u - 1) * density, (u * u - 3) * u * density)
            for order in range(4):
                part = sign * hermite[order] / scale ** (order + 1)
                result[order + 1] -= level * part[:, :, None]
        return result


def _log_p(z: Array, *, two_sided: bool) -> tuple[Array, Array]:
    """Return log p and log(1 − p), censored, of z values of any shape."""
    if two_sided:
        p = np.clip(2 * special.ndtr(-np.abs(z)), SMALLEST_P, 1 - SMALLEST_P)
        return np.log(p), np.log1p(-p)
    outer = -float(special.ndtri(SMALLEST_P))
    inside = np.clip(z, -outer, outer)
    return special.log_ndtr(-inside), special.log_ndtr(inside)
