// Steps of the sum-product recursions, states over threads. After trellis.cuh.

// past(s) = sum_{c % S = s} row(c) before(c / M), divided by their sum, which it returns
__device__ inline double forward(
    const double* row, const double* before, double* after, int M, int S)
{
    double mine = 0.0;
    for (int s = threadIdx.x; s < S; s += blockDim.x) {
        double sum = 0.0;
        for (int c = s; c < M * S; c += S) sum += row[c] * before[c / M];
        after[s] = sum;
        mine += sum;
    }
    double total = block_sum(mine);
    for (int s = threadIdx.x; s < S; s += blockDim.x) after[s] /= total;
    __syncthreads();
    return total;
}

// future(s) = sum_{c / M = s} row(c) after(c % S), divided by their sum
__device__ inline void backward(
    const double* row, const double* after, double* before, int M, int S)
{
    double mine = 0.0;
    for (int s = threadIdx.x; s < S; s += blockDim.x) {
        double sum = 0.0;
        for (int c = s * M; c < s * M + M; ++c) sum += row[c] * after[c % S];
        before[s] = sum;
        mine += sum;
    }
    double total = block_sum(mine);
    for (int s = threadIdx.x; s < S; s += blockDim.x) before[s] /= total;
    __syncthreads();
}
