"""Steps of the sum-product recursions, scaled by powers of two: that rounds nothing."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# Numba types these functions itself; the equations stand in `ref`.

from numba import njit

from streamproc_kernels.cpu._explog import power_of_two_below


@njit(inline="always")
def total_of(v, n):
    if n % 8:
        total = v[0]
        for s in range(1, n):
            total += v[s]
        return total
    a, b, c, d, e, f, g, h = v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7]
    for s in range(8, n, 8):
        a += v[s]
        b += v[s + 1]
        c += v[s + 2]
        d += v[s + 3]
        e += v[s + 4]
        f += v[s + 5]
        g += v[s + 6]
        h += v[s + 7]
    return ((a + e) + (c + g)) + ((b + f) + (d + h))


@njit(inline="always")
def forward_step(row, before, after, M, S):
    """after(s) = sum_{c % S = s} row(c) before(c // M), and its sum before scaling."""
    for k in range(max(1, S // M)):
        for u in range(min(M, S)):
            s = k * M + u
            total = row[s] * before[k]
            for j in range(1, M):
                # for S = 1 the only state is before every class
                total += row[j * S + s] * before[j * S // M + k]
            after[s] = total
    total = total_of(after, S)
    scale = power_of_two_below(total)
    for s in range(S):
        after[s] *= scale
    return total


@njit(inline="always")
def backward_step(row, after, before, M, S):
    """before(s) = sum_{c // M = s} row(c) after(c % S)."""
    for s in range(S):
        onward = s * M % S
        total = row[s * M] * after[onward]
        for u in range(1, M):
            total += row[s * M + u] * after[onward + (u if S > 1 else 0)]
        before[s] = total
    scale = power_of_two_below(total_of(before, S))
    for s in range(S):
        before[s] *= scale
