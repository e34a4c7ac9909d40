#include "trellis.cuh"
#include "recursion.cuh"

// One sequence per CUDA block, its states spread over the threads. Likelihoods wait
// where the posteriors go, both recursions in `scratch`.

extern "C" __global__ void class_posterior(
    const double* loglik, const double* prior, int prior_rows, int total, int M, int S,
    double least, const double* alpha, double* posterior, double* evidence,
    double* scratch, long long scratch_each)
{
    long long C = M * S, b = blockIdx.x;
    double* past = scratch + b * scratch_each;
    double* future = past + (total + 1LL) * S;
    double* offset = future + (total + 1LL) * S;
    loglik += b * total * C;
    prior += b * prior_rows * M;
    alpha += b * S;
    posterior += b * total * C;
    evidence += b * total;

    for (int t = threadIdx.x; t < total; t += blockDim.x) {
        const double* expected = prior_rows ? prior + t * (long long)M : 0;
        double* row = posterior + t * C;
        offset[t] = metric_row(loglik + t * C, expected, M, S, least, row);
        for (int c = 0; c < C; ++c) row[c] = exp(row[c]);
    }
    for (int s = threadIdx.x; s < S; s += blockDim.x) {
        past[s] = alpha[s];
        future[total * (long long)S + s] = 1.0;
    }
    __syncthreads();
    for (int t = total - 1; t > 0; --t) {
        double* from = future + t * (long long)S;
        backward(posterior + t * C, from + S, from, M, S);
    }
    for (int t = 0; t < total; ++t) {
        double* into = past + t * (long long)S;
        double grown = forward(posterior + t * C, into, into + S, M, S);
        if (threadIdx.x == 0) {
            double given = offset[t] + log(grown);
            evidence[t] = is_finite(given) ? given : 0.0;
        }
    }
    for (int t = threadIdx.x; t < total; t += blockDim.x) {
        const double* before = past + t * (long long)S;
        const double* after = future + (t + 1LL) * S;
        double* row = posterior + t * C;
        double sum = 0.0;
        for (int c = 0; c < C; ++c) sum += row[c] *= before[c / M] * after[c % S];
        for (int c = 0; c < C; ++c) row[c] /= sum;
    }
}
