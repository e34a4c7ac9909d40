// One thread per point; each Jacobian column is carried as a tangent vector.

struct vec { double x, y, z; };

__device__ inline vec add(vec a, double s, vec b)
{
    return {a.x + s * b.x, a.y + s * b.y, a.z + s * b.z};
}

__device__ inline vec slope(vec p, vec a)
{
    return {10.0 * (a.y - a.x), (28.0 - p.z) * a.x - a.y, p.y * a.x - 8.0 / 3.0 * a.z};
}

__device__ inline vec bend(vec p, vec m) { return {0.0, -m.z * p.x, m.y * p.x}; }

__device__ inline vec tangent(vec p, vec m) { return add(slope(p, m), 1.0, bend(p, m)); }

__device__ inline void taylor(vec& p, vec& m, double h, int order)
{
    vec point = p, along = m, term = p, turned = m;
    for (int j = 1; j <= order; ++j) {
        double s = h / j;
        turned = add(slope(p, turned), 1.0, bend(term, m));
        turned = {s * turned.x, s * turned.y, s * turned.z};
        term = slope(p, term);
        term = {s * term.x, s * term.y, s * term.z};
        point = add(point, 1.0, term);
        along = add(along, 1.0, turned);
    }
    p = point;
    m = along;
}

__device__ inline void rk4(vec& p, vec& m, double h)
{
    vec k1 = slope(p, p), m1 = tangent(p, m);
    vec q = add(p, h / 2, k1);
    vec k2 = slope(q, q), m2 = tangent(q, add(m, h / 2, m1));
    q = add(p, h / 2, k2);
    vec k3 = slope(q, q), m3 = tangent(q, add(m, h / 2, m2));
    q = add(p, h, k3);
    vec k4 = slope(q, q), m4 = tangent(q, add(m, h, m3));
    p = add(add(add(add(p, h / 6, k1), h / 3, k2), h / 3, k3), h / 6, k4);
    m = add(add(add(add(m, h / 6, m1), h / 3, m2), h / 3, m3), h / 6, m4);
}

extern "C" __global__ void lorenz_flow(
    const double* x, double step_s, int substeps, int order, double* x_next,
    double* jacobian, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    double h = step_s / substeps;
    vec start = {x[3 * i], x[3 * i + 1], x[3 * i + 2]};
    vec p = start;
    for (int c = 0; c < 3; ++c) {
        p = start;
        vec m = {c == 0 ? 1.0 : 0.0, c == 1 ? 1.0 : 0.0, c == 2 ? 1.0 : 0.0};
        for (int k = 0; k < substeps; ++k) {
            if (order == 0) rk4(p, m, h);
            else taylor(p, m, h, order);
        }
        jacobian[9 * i + c] = m.x;
        jacobian[9 * i + 3 + c] = m.y;
        jacobian[9 * i + 6 + c] = m.z;
    }
    x_next[3 * i] = p.x;
    x_next[3 * i + 1] = p.y;
    x_next[3 * i + 2] = p.z;
}
