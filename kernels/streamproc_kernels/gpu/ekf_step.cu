// One thread per track. 3x3 matrices live in registers; all loops unroll.

template <class R> struct mat { R at[3][3]; };

template <class R> __device__ inline mat<R> load(const R* m)
{
    mat<R> a;
    for (int r = 0; r < 3; ++r)
        for (int c = 0; c < 3; ++c) a.at[r][c] = m[3 * r + c];
    return a;
}

template <class R> __device__ inline mat<R> turn(const mat<R>& a)
{
    mat<R> t;
    for (int r = 0; r < 3; ++r)
        for (int c = 0; c < 3; ++c) t.at[r][c] = a.at[c][r];
    return t;
}

// a b'
template <class R> __device__ inline mat<R> times_turned(const mat<R>& a, const mat<R>& b)
{
    mat<R> p;
    for (int r = 0; r < 3; ++r)
        for (int c = 0; c < 3; ++c)
            p.at[r][c] = a.at[r][0] * b.at[c][0] + a.at[r][1] * b.at[c][1]
                + a.at[r][2] * b.at[c][2];
    return p;
}

// (a + b + (a + b)') / 2
template <class R> __device__ inline mat<R> symmetric_sum(const mat<R>& a, const mat<R>& b)
{
    mat<R> s;
    for (int r = 0; r < 3; ++r)
        for (int c = 0; c < 3; ++c)
            s.at[r][c] = ((a.at[r][c] + b.at[r][c]) + (a.at[c][r] + b.at[c][r])) * R(0.5);
    return s;
}

template <class R> __device__ inline R root(R pivot)
{
    // the square root of -1 is the NaN that marks a matrix not positive definite
    return sqrt(pivot > R(0) ? pivot : R(-1));
}

// W, lower triangular, with W S W' = I
template <class R> __device__ inline mat<R> inverse_factor(const mat<R>& S)
{
    mat<R> w = {};
    R w0 = R(1) / root(S.at[0][0]);
    R l10 = S.at[1][0] * w0, l20 = S.at[2][0] * w0;
    R w1 = R(1) / root(S.at[1][1] - l10 * l10);
    R l21 = (S.at[2][1] - l20 * l10) * w1;
    R w2 = R(1) / root(S.at[2][2] - l20 * l20 - l21 * l21);
    w.at[0][0] = w0;
    w.at[1][1] = w1;
    w.at[2][2] = w2;
    w.at[1][0] = -l10 * w0 * w1;
    w.at[2][1] = -l21 * w1 * w2;
    w.at[2][0] = -(l20 * w0 + l21 * w.at[1][0]) * w2;
    return w;
}

template <class R> __device__ inline void step(
    const R* x_pred, const R* jacobian, const R* P, const R* y, const R* H, const R* Q,
    const R* R_noise, R* x, R* P_out, R* nis)
{
    mat<R> f = load(jacobian);
    // times_turned(f, P) is f P, for P is symmetric
    mat<R> prior = symmetric_sum(
        times_turned(times_turned(f, load(P)), f), load(Q));
    mat<R> h = load(H), noise = load(R_noise);
    bool seen[3];
    R v[3], u[3];
    for (int r = 0; r < 3; ++r) {
        v[r] = y[r] - (h.at[r][0] * x_pred[0] + h.at[r][1] * x_pred[1]
                       + h.at[r][2] * x_pred[2]);
        seen[r] = !(y[r] != y[r]);
    }
    // a missing row becomes h = 0, r = 1, v = 0: it moves nothing, exactly
    for (int r = 0; r < 3; ++r) {
        v[r] = seen[r] ? v[r] : R(0);
        for (int c = 0; c < 3; ++c) {
            h.at[r][c] = seen[r] ? h.at[r][c] : R(0);
            noise.at[r][c] = seen[r] && seen[c] ? noise.at[r][c] : R(r == c);
        }
    }
    mat<R> hp = times_turned(h, prior);
    mat<R> w = inverse_factor(symmetric_sum(times_turned(hp, h), noise));
    for (int r = 0; r < 3; ++r)
        u[r] = w.at[r][0] * v[0] + w.at[r][1] * v[1] + w.at[r][2] * v[2];
    // with g = W H P-: K = g' W and K v = g' W v
    mat<R> gt = times_turned(turn(hp), w);
    mat<R> K = times_turned(gt, turn(w));
    mat<R> a = times_turned(K, turn(h));
    for (int r = 0; r < 3; ++r)
        for (int c = 0; c < 3; ++c) a.at[r][c] = R(r == c) - a.at[r][c];
    mat<R> posterior = symmetric_sum(
        times_turned(times_turned(a, prior), a), times_turned(times_turned(K, noise), K));
    for (int r = 0; r < 3; ++r) {
        x[r] = x_pred[r] + gt.at[r][0] * u[0] + gt.at[r][1] * u[1] + gt.at[r][2] * u[2];
        for (int c = 0; c < 3; ++c) P_out[3 * r + c] = posterior.at[r][c];
    }
    R distance = u[0] * u[0] + u[1] * u[1] + u[2] * u[2];
    *nis = seen[0] || seen[1] || seen[2] ? distance : sqrt(R(-1));
}

extern "C" __global__ void ekf_step_f8(
    const double* x_pred, const double* jacobian, const double* P, const double* y,
    const double* H, const double* Q, const double* R, double* x, double* P_out,
    double* nis, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    step(x_pred + 3 * i, jacobian + 9 * i, P + 9 * i, y + 3 * i, H, Q, R, x + 3 * i,
         P_out + 9 * i, nis + i);
}

extern "C" __global__ void ekf_step_f4(
    const float* x_pred, const float* jacobian, const float* P, const float* y,
    const float* H, const float* Q, const float* R, float* x, float* P_out,
    float* nis, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    step(x_pred + 3 * i, jacobian + 9 * i, P + 9 * i, y + 3 * i, H, Q, R, x + 3 * i,
         P_out + 9 * i, nis + i);
}
