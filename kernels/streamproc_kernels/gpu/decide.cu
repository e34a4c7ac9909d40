// One CUDA block: its threads share the symbols, then the sums, each of which one
// thread adds up, so that the order of additions is always the same.

__device__ inline void choose(const double* odds, int M, char* symbol, double* share)
{
    int best = 0;
    for (int u = 1; u < M; ++u) best = odds[u] > odds[best] ? u : best;
    double total = 0.0;
    for (int u = 0; u < M; ++u) total += share[u] = exp(odds[u] - odds[best]);
    for (int u = 0; u < M; ++u) share[u] /= total;
    *symbol = best;
}

// class of the symbols run[0..past], the oldest first; -1: one is not known
__device__ inline int class_of(const char* run, int past, int M)
{
    int at = 0;
    for (int k = 0; k <= past; ++k) {
        if (run[k] < 0) return -1;
        at = at * M + run[k];
    }
    return at;
}

// false where there is none
__device__ inline bool residual(
    const double* y, const double* mean, int D, double most, double* of)
{
    for (int d = 0; d < D; ++d) {
        if (!(fabs(y[d]) <= 1e100)) return false;
        of[d] = fmin(fmax(y[d] - mean[d], -most), most);
    }
    return true;
}

extern "C" __global__ void decide(
    const double* odds, const double* evidence, const double* y, const double* means,
    const double* points, char* symbols, double* posterior, double* sums,
    long long total, int M, int C, int D, int past, int figures, double most)
{
    for (long long n = threadIdx.x; n < total; n += blockDim.x)
        choose(odds + n * M, M, symbols + past + n, posterior + n * M);
    __syncthreads();
    for (int figure = threadIdx.x; figure < figures; figure += blockDim.x) {
        double sum = 0.0;
        int place = (figure - 2) / D;
        bool turned = (figure - 2) % D;  // imaginary part
        for (long long n = 0; n < total; ++n) {
            double of[2] = {0.0, 0.0};
            if (figure == 0)
                for (int u = 0; u < M; ++u)
                    sum += u == symbols[past + n] ? 0.0 : posterior[n * M + u];
            if (figure == 1) sum += evidence[n];
            if (figure < 2) continue;
            int at = class_of(symbols + n, past, M);
            if (at < 0 || !residual(y + n * D, means + at * D, D, most, of)) continue;
            const double* point = points + symbols[n + place] * D;
            if (D == 1) sum += point[0] * of[0];
            else if (turned) sum += point[1] * of[0] - point[0] * of[1];
            else sum += point[0] * of[0] + point[1] * of[1];
        }
        sums[figure] = sum;
    }
}
