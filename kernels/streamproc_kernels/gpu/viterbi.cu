#include "trellis.cuh"

// One sequence per CUDA block, its states spread over the threads; thread 0 walks
// back. `back` holds c / S of the best class c into each state.

__device__ inline void step(
    const double* row, const double* before, double* after, int* back, int M, int S)
{
    for (int s = threadIdx.x; s < S; s += blockDim.x) {
        double best = row[s] + before[s / M];
        int digit = 0;
        for (int j = 1; j < M; ++j) {
            double way = row[j * S + s] + before[(j * S + s) / M];
            digit = way > best ? j : digit;
            best = way > best ? way : best;
        }
        after[s] = best;
        back[s] = digit;
    }
    __syncthreads();
}

__device__ inline int best_of(const double* v, int S)
{
    int at = 0;
    for (int s = 1; s < S; ++s) at = v[s] > v[at] ? s : at;
    return at;
}

extern "C" __global__ void viterbi(
    const double* loglik, const double* prior, int prior_rows, int total, int M, int S,
    int window, int lag, int keep, double least, double* metric, char* symbols,
    double* scratch, long long scratch_each)
{
    int most = window + lag < total ? window + lag : total;
    long long C = M * S, b = blockIdx.x;
    double* each = scratch + b * scratch_each;
    double* past = each + most * C;
    int* back = (int*)(past + (most + 1LL) * S);
    loglik += b * total * C;
    prior += b * prior_rows * M;
    metric += b * S;
    symbols += b * keep;

    for (int first = 0; first < keep; first += window) {
        int count = keep - first < window ? keep - first : window;
        int seen = total - first < count + lag ? total - first : count + lag;
        for (int t = threadIdx.x; t < seen; t += blockDim.x) {
            const double* expected = prior_rows ? prior + (first + t) * (long long)M : 0;
            metric_row(loglik + (first + t) * C, expected, M, S, least, each + t * C);
        }
        for (int s = threadIdx.x; s < S; s += blockDim.x) past[s] = metric[s];
        __syncthreads();
        for (int t = 0; t < seen; ++t) {
            double* into = past + t * (long long)S;
            step(each + t * C, into, into + S, back + t * (long long)S, M, S);
        }
        const double* last = past + count * (long long)S;
        double best = last[best_of(last, S)];
        for (int s = threadIdx.x; s < S; s += blockDim.x) metric[s] = last[s] - best;
        if (threadIdx.x == 0) {
            int state = best_of(past + seen * (long long)S, S);
            for (int t = seen - 1; t >= 0; --t) {
                int c = back[t * (long long)S + state] * S + state;
                state = c / M;
                if (t < count) symbols[first + t] = c % M;
            }
        }
        __syncthreads();
    }
}
