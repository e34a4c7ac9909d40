// One matrix per CUDA block: Gram matrix in double precision, cyclic Jacobi on it in
// shared memory, then out = x V diag(w) V^H. At most 32 columns.

#include "jacobi.cuh"

template <class E> __device__ inline void gram(
    const E* x, int rows, int columns, cplx (*g)[MAX_T], cplx (*v)[MAX_T])
{
    for (int e = threadIdx.x; e < columns * columns; e += blockDim.x) {
        int i = e / columns, j = e % columns;
        v[i][j] = {i == j ? 1.0 : 0.0, 0.0};
        if (j < i) continue;
        cplx sum = {0.0, 0.0};
        for (int p = 0; p < rows; ++p) {
            cplx term = conj_times(wide(x[p * columns + i]), wide(x[p * columns + j]));
            sum.re += term.re;
            sum.im += term.im;
        }
        g[i][j] = sum;
        if (j > i) g[j][i] = {sum.re, -sum.im};
    }
}

// sigma, descending, and the weight of each column of v
__device__ inline void weigh(
    const cplx (*g)[MAX_T], double* weight, float* sigma, int columns, double tau,
    int rank)
{
    for (int i = threadIdx.x; i < columns; i += blockDim.x) {
        double square = g[i][i].re;
        int place = 0;
        for (int j = 0; j < columns; ++j) {
            double other = g[j][j].re;
            place += other > square || (other == square && j < i);
        }
        double s = sqrt(square < 0.0 ? 0.0 : square);
        sigma[place] = (float)s;
        weight[i] = place < rank && s > tau ? 1.0 - tau / s : 0.0;
    }
}

template <class E> __device__ inline void svt(
    const E* x, double tau, int rank, E* out, float* sigma, int rows, int columns)
{
    __shared__ cplx g[MAX_T][MAX_T], v[MAX_T][MAX_T];
    __shared__ rotation turns[MAX_T / 2];
    __shared__ double weight[MAX_T];
    __shared__ int busy, bad;
    x += (long long)blockIdx.x * rows * columns;
    out += (long long)blockIdx.x * rows * columns;
    sigma += (long long)blockIdx.x * columns;

    gram(x, rows, columns, g, v);
    __syncthreads();
    if (threadIdx.x == 0) {
        double trace = 0.0;
        for (int i = 0; i < columns; ++i) trace += g[i][i].re;
        bad = trace - trace != 0.0;  // NaN or infinite
    }
    __syncthreads();
    if (bad) {
        double nan = sqrt(-1.0);
        for (int e = threadIdx.x; e < rows * columns; e += blockDim.x)
            narrow({nan, nan}, out + e);
        for (int i = threadIdx.x; i < columns; i += blockDim.x) sigma[i] = (float)nan;
        return;
    }
    diagonalise(g, v, turns, &busy, columns);
    weigh(g, weight, sigma, columns, tau, rank);
    __syncthreads();
    // g is spent: it now holds V diag(w) V^H
    for (int e = threadIdx.x; e < columns * columns; e += blockDim.x) {
        int i = e / columns, j = e % columns;
        cplx sum = {0.0, 0.0};
        for (int k = 0; k < columns; ++k) {
            cplx term = conj_times(v[j][k], v[i][k]);
            sum.re += weight[k] * term.re;
            sum.im += weight[k] * term.im;
        }
        g[i][j] = sum;
    }
    __syncthreads();
    for (int e = threadIdx.x; e < rows * columns; e += blockDim.x) {
        const E* row = x + e / columns * columns;
        cplx sum = {0.0, 0.0};
        for (int k = 0; k < columns; ++k) {
            cplx term = times(wide(row[k]), g[k][e % columns]);
            sum.re += term.re;
            sum.im += term.im;
        }
        narrow(sum, out + e);
    }
}

extern "C" __global__ void svt_f4(
    const float* x, double tau, int rank, float* out, float* sigma, int rows,
    int columns)
{
    svt(x, tau, rank, out, sigma, rows, columns);
}

extern "C" __global__ void svt_c8(
    const float2* x, double tau, int rank, float2* out, float* sigma, int rows,
    int columns)
{
    svt(x, tau, rank, out, sigma, rows, columns);
}
