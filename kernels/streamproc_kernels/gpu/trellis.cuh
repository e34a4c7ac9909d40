// What the trellis kernels share: the metrics of a row, the sum over a block.
// Class c goes from state c / M to state c % S; M symbols, C = M S classes.

const int MOST_THREADS = 256;  // a power of two, as every number of threads here is

__device__ inline bool is_finite(double x) { return x - x == 0.0; }

// the larger; NaN once there is one
__device__ inline double larger(double best, double x)
{
    return x > best || x != x ? x : best;
}

// Log-likelihood plus log prior, 0 at the best and nothing under `least`; an erased
// row has the prior alone. Returns what makes it log p(y, d | class); NaN: erased.
__device__ inline double metric_row(
    const double* loglik, const double* prior, int M, int S, double least, double* out)
{
    double top = 0.0, total = M;
    if (prior) {
        top = prior[0];
        for (int u = 1; u < M; ++u) top = larger(top, prior[u]);
        if (!is_finite(top)) prior = 0;
    }
    if (prior) {
        total = 0.0;
        for (int u = 0; u < M; ++u) total += exp(prior[u] - top);
    }
    double best = 0.0;
    for (int c = 0; c < M * S; ++c) {
        out[c] = loglik[c] + (prior ? prior[c % M] - top : 0.0);
        best = c ? larger(best, out[c]) : out[c];
    }
    bool known = is_finite(best);
    for (int c = 0; c < M * S; ++c) {
        double expected = prior ? prior[c % M] - top : 0.0;
        double z = known ? out[c] - best : expected;
        out[c] = z > least ? z : least;
    }
    return known ? best - log(total) : nan("");
}

__device__ inline double block_sum(double v)
{
    __shared__ double part[MOST_THREADS];
    part[threadIdx.x] = v;
    __syncthreads();
    for (unsigned d = blockDim.x / 2; d; d >>= 1) {
        if (threadIdx.x < d) part[threadIdx.x] += part[threadIdx.x + d];
        __syncthreads();
    }
    double total = part[0];
    __syncthreads();
    return total;
}
