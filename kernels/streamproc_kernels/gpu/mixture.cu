// One thread per entry of loglik.

extern "C" __global__ void mixture(
    const double* y, const double* means, const double* log_weight,
    const double* inv_scale, double* loglik, long long entries, int classes, int dims,
    int terms)
{
    long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (i >= entries) return;
    const double* sample = y + i / classes * dims;
    const double* mean = means + i % classes * dims;
    double square = 0.0;
    bool known = true;
    for (int d = 0; d < dims; ++d) {
        known = known && fabs(sample[d]) <= 1e100;
        double away = sample[d] - mean[d];
        square += away * away;
    }
    double best = log_weight[0] - inv_scale[0] * square;
    for (int k = 1; k < terms; ++k) {
        double term = log_weight[k] - inv_scale[k] * square;
        best = term > best ? term : best;
    }
    double total = 0.0;
    for (int k = 0; k < terms; ++k)
        total += exp(log_weight[k] - inv_scale[k] * square - best);
    loglik[i] = known ? best + log(total) : 0.0;
}
