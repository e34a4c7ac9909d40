#include "trellis.cuh"

// One sequence per CUDA block, its states spread over the threads. Metrics and both
// recursions of a window wait in `scratch`.

__device__ inline void forward(
    const double* row, const double* before, double* after, int M, int S)
{
    for (int s = threadIdx.x; s < S; s += blockDim.x) {
        double best = row[s] + before[s / M];
        for (int c = s + S; c < M * S; c += S) {
            double way = row[c] + before[c / M];
            best = way > best ? way : best;
        }
        after[s] = best;
    }
    __syncthreads();
}

__device__ inline void backward(
    const double* row, const double* after, double* before, int M, int S)
{
    for (int s = threadIdx.x; s < S; s += blockDim.x) {
        double best = row[s * M] + after[s * M % S];
        for (int c = s * M + 1; c < s * M + M; ++c) {
            double way = row[c] + after[c % S];
            best = way > best ? way : best;
        }
        before[s] = best;
    }
    __syncthreads();
}

__device__ inline double through(
    const double* row, const double* past, const double* future, int u, int M, int S)
{
    if (S == 1) return row[u];
    double best = past[u] + future[u];
    for (int s = u + M; s < S; s += M) {
        double way = past[s] + future[s];
        best = way > best ? way : best;
    }
    return best;
}

extern "C" __global__ void max_log(
    const double* loglik, const double* prior, int prior_rows, int total, int M, int S,
    int window, int lag, int keep, double least, double* alpha, double* odds,
    double* scratch, long long scratch_each)
{
    int most = window + lag < total ? window + lag : total;
    long long C = M * S, b = blockIdx.x;
    double* metric = scratch + b * scratch_each;
    double* past = metric + most * C;
    double* future = past + (most + 1LL) * S;
    loglik += b * total * C;
    prior += b * prior_rows * M;
    alpha += b * S;
    odds += b * keep * M;

    for (int first = 0; first < keep; first += window) {
        int count = keep - first < window ? keep - first : window;
        int seen = total - first < count + lag ? total - first : count + lag;
        for (int t = threadIdx.x; t < seen; t += blockDim.x) {
            const double* expected = prior_rows ? prior + (first + t) * (long long)M : 0;
            metric_row(loglik + (first + t) * C, expected, M, S, least, metric + t * C);
        }
        for (int s = threadIdx.x; s < S; s += blockDim.x) {
            past[s] = alpha[s];
            future[seen * (long long)S + s] = 0.0;
        }
        __syncthreads();
        for (int t = seen - 1; t > 0; --t) {
            double* from = future + t * (long long)S;
            backward(metric + t * C, from + S, from, M, S);
        }
        for (int t = 0; t < count; ++t) {
            double* into = past + t * (long long)S;
            forward(metric + t * C, into, into + S, M, S);
        }
        for (int t = threadIdx.x; t < count; t += blockDim.x) {
            const double* before = past + (t + 1LL) * S;
            const double* after = future + (t + 1LL) * S;
            double zero = through(metric + t * C, before, after, 0, M, S);
            for (int u = 0; u < M; ++u) {
                double one = through(metric + t * C, before, after, u, M, S);
                odds[(first + t) * (long long)M + u] = one - zero;
            }
        }
        const double* last = past + count * (long long)S;
        double best = last[0];
        for (int s = 1; s < S; ++s) best = last[s] > best ? last[s] : best;
        for (int s = threadIdx.x; s < S; s += blockDim.x) alpha[s] = last[s] - best;
        __syncthreads();
    }
}
