#include "trellis.cuh"
#include "recursion.cuh"

// One sequence per CUDA block, its states spread over the threads. Likelihoods and
// both recursions of a window wait in `scratch`.

__device__ inline double through(
    const double* row, const double* past, const double* future, int u, int M, int S)
{
    if (S == 1) return row[u];
    double sum = 0.0;
    for (int s = u; s < S; s += M) sum += past[s] * future[s];
    return sum;
}

extern "C" __global__ void bcjr(
    const double* loglik, const double* prior, int prior_rows, int total, int M, int S,
    int window, int lag, int keep, double least, double* alpha, double* odds,
    double* evidence, double* scratch, long long scratch_each)
{
    int most = window + lag < total ? window + lag : total;
    long long C = M * S, b = blockIdx.x;
    double* lik = scratch + b * scratch_each;
    double* past = lik + most * C;
    double* future = past + (most + 1LL) * S;
    double* offset = future + (most + 1LL) * S;
    loglik += b * total * C;
    prior += b * prior_rows * M;
    alpha += b * S;
    odds += b * keep * M;
    evidence += b * keep;

    for (int first = 0; first < keep; first += window) {
        int count = keep - first < window ? keep - first : window;
        int seen = total - first < count + lag ? total - first : count + lag;
        for (int t = threadIdx.x; t < seen; t += blockDim.x) {
            const double* expected = prior_rows ? prior + (first + t) * (long long)M : 0;
            double* row = lik + t * C;
            offset[t] = metric_row(
                loglik + (first + t) * C, expected, M, S, least, row);
            for (int c = 0; c < C; ++c) row[c] = exp(row[c]);
        }
        for (int s = threadIdx.x; s < S; s += blockDim.x) {
            past[s] = alpha[s];
            future[seen * (long long)S + s] = 1.0;
        }
        __syncthreads();
        for (int t = seen - 1; t > 0; --t) {
            double* from = future + t * (long long)S;
            backward(lik + t * C, from + S, from, M, S);
        }
        for (int t = 0; t < count; ++t) {
            double* into = past + t * (long long)S;
            double grown = forward(lik + t * C, into, into + S, M, S);
            if (threadIdx.x == 0) {
                double given = offset[t] + log(grown);
                evidence[first + t] = is_finite(given) ? given : 0.0;
            }
        }
        for (int t = threadIdx.x; t < count; t += blockDim.x) {
            const double* before = past + (t + 1LL) * S;
            const double* after = future + (t + 1LL) * S;
            double zero = through(lik + t * C, before, after, 0, M, S);
            for (int u = 0; u < M; ++u) {
                double one = through(lik + t * C, before, after, u, M, S);
                odds[(first + t) * (long long)M + u] = log(one / zero);
            }
        }
        for (int s = threadIdx.x; s < S; s += blockDim.x)
            alpha[s] = past[count * (long long)S + s];
        __syncthreads();
    }
}
