// Two launches: Gram matrices of pieces of the pixels, in double precision; then, one
// window per CUDA block, their sum, iteration, Jacobi, and the columns in order. At
// most 32 frames. Sums have one order, so the same window gives the same bits.

#include "jacobi.cuh"

#define PIXELS 32  // staged at once
#define NOTHING 1e-6
#define LOST 1e-13

__device__ inline double power(cplx a) { return a.re * a.re + a.im * a.im; }

__device__ inline void add(cplx& sum, cplx term)
{
    sum.re += term.re;
    sum.im += term.im;
}

// grams: (B, pieces, T, T) of [re, im]; piece k is of pixels k * per and on
extern "C" __global__ void subspace_gram(
    const float2* x, double* grams, int frames, int pixels, int pieces, int per)
{
    __shared__ float2 held[MAX_T][PIXELS + 1];
    long long window = blockIdx.x / pieces;
    int begin = blockIdx.x % pieces * per, end = begin + per;
    if (end > pixels) end = pixels;
    x += window * frames * pixels;
    cplx* g = (cplx*)grams + (long long)blockIdx.x * frames * frames;
    for (int e = threadIdx.x; e < frames * frames; e += blockDim.x) g[e] = {0.0, 0.0};
    for (int first = begin; first < end; first += PIXELS) {
        int n = end - first < PIXELS ? end - first : PIXELS;
        for (int e = threadIdx.x; e < frames * n; e += blockDim.x)
            held[e / n][e % n] = x[(long long)(e / n) * pixels + first + e % n];
        __syncthreads();
        for (int e = threadIdx.x; e < frames * frames; e += blockDim.x) {
            cplx sum = g[e];
            for (int p = 0; p < n; ++p)
                add(sum, conj_times(wide(held[e % frames][p]), wide(held[e / frames][p])));
            g[e] = sum;
        }
        __syncthreads();
    }
}

// w = g q, for the first `columns` of q, T x T both
__device__ inline void apply(
    const cplx (*g)[MAX_T], const cplx* q, cplx* w, int frames, int columns)
{
    for (int e = threadIdx.x; e < frames * columns; e += blockDim.x) {
        int t = e / columns, k = e % columns;
        cplx sum = {0.0, 0.0};
        for (int s = 0; s < frames; ++s) add(sum, times(g[t][s], q[s * frames + k]));
        w[t * frames + k] = sum;
    }
}

// classical Gram-Schmidt, twice is enough; false where a column brings nothing new
__device__ inline bool orthonormal(
    cplx* q, cplx* along, double* norm, int frames, int columns, double least)
{
    for (int k = 0; k < columns; ++k) {
        for (int again = 0; again < 2; ++again) {
            for (int j = threadIdx.x; j < k; j += blockDim.x) {
                along[j] = {0.0, 0.0};
                for (int t = 0; t < frames; ++t)
                    add(along[j], conj_times(q[t * frames + j], q[t * frames + k]));
            }
            __syncthreads();
            for (int t = threadIdx.x; t < frames; t += blockDim.x)
                for (int j = 0; j < k; ++j) {
                    cplx part = times(along[j], q[t * frames + j]);
                    add(q[t * frames + k], {-part.re, -part.im});
                }
            __syncthreads();
        }
        if (threadIdx.x == 0) {
            double sum = 0.0;
            for (int t = 0; t < frames; ++t) sum += power(q[t * frames + k]);
            *norm = sqrt(sum);
        }
        __syncthreads();
        double size = *norm;
        __syncthreads();
        if (!(size > least)) return false;
        for (int t = threadIdx.x; t < frames; t += blockDim.x) {
            q[t * frames + k].re /= size;
            q[t * frames + k].im /= size;
        }
        __syncthreads();
    }
    return true;
}

// v iterated, in q; false where v is of no use
__device__ inline bool iterate(
    const cplx (*g)[MAX_T], const float2* v, int steps, cplx* q, cplx* w, cplx* along,
    double* norm, int frames, int rank, double least)
{
    for (int e = threadIdx.x; e < frames * rank; e += blockDim.x)
        q[e / rank * frames + e % rank] = wide(v[e]);
    __syncthreads();
    for (int step = 0; step < steps; ++step) {
        apply(g, q, w, frames, rank);
        __syncthreads();
        for (int e = threadIdx.x; e < frames * rank; e += blockDim.x)
            q[e / rank * frames + e % rank] = w[e / rank * frames + e % rank];
        __syncthreads();
        if (!orthonormal(q, along, norm, frames, rank, least)) return false;
    }
    return steps > 0;
}

// g becomes q^H g q
__device__ inline void compress(
    cplx (*g)[MAX_T], const cplx* q, cplx* w, int frames, int columns)
{
    apply(g, q, w, frames, columns);
    __syncthreads();
    for (int e = threadIdx.x; e < columns * columns; e += blockDim.x) {
        int i = e / columns, j = e % columns;
        cplx sum = {0.0, 0.0};
        for (int t = 0; t < frames; ++t)
            add(sum, conj_times(q[t * frames + i], w[t * frames + j]));
        g[i][j] = sum;
    }
}

// column i of q u into column i of w; what turns its first strong entry to the real
__device__ inline cplx vector_of(
    const cplx* q, const cplx (*u)[MAX_T], cplx* w, int i, int frames, int columns)
{
    double best = 0.0;
    for (int t = 0; t < frames; ++t) {
        cplx sum = {0.0, 0.0};
        for (int j = 0; j < columns; ++j) add(sum, times(q[t * frames + j], u[j][i]));
        w[t * frames + i] = sum;
        best = fmax(best, power(sum));
    }
    int t = 0;
    while (t < frames - 1 && power(w[t * frames + i]) < best / 2.0) ++t;
    cplx pivot = w[t * frames + i];
    double size = sqrt(power(pivot));
    return {pivot.re / size, -pivot.im / size};
}

__device__ inline void write(
    const cplx (*g)[MAX_T], const cplx (*u)[MAX_T], const cplx* q, cplx* w, float2* v,
    float* sigma, int frames, int columns, int rank)
{
    for (int i = threadIdx.x; i < columns; i += blockDim.x) {
        double square = g[i][i].re, strongest = square;
        int place = 0;
        for (int j = 0; j < columns; ++j) {
            double other = g[j][j].re;
            strongest = fmax(strongest, other);
            place += other > square || (other == square && j < i);
        }
        if (place >= rank) continue;
        double value = sqrt(fmax(square, 0.0));
        bool kept = value > NOTHING * sqrt(fmax(strongest, 0.0));
        cplx turn = vector_of(q, u, w, i, frames, columns);
        sigma[place] = kept ? (float)value : 0.0f;
        for (int t = 0; t < frames; ++t) {
            cplx entry = times(w[t * frames + i], turn);
            narrow(kept ? entry : cplx{0.0, 0.0}, v + t * rank + place);
        }
    }
}

// room: (B, 2, T, T) of [re, im]
extern "C" __global__ void subspace(
    const double* grams, float2* v, int steps, float* sigma, double* room, int frames,
    int rank, int pieces)
{
    __shared__ cplx g[MAX_T][MAX_T], u[MAX_T][MAX_T], along[MAX_T];
    __shared__ rotation turns[MAX_T / 2];
    __shared__ double norm, trace;
    __shared__ int busy;
    int size = frames * frames;
    const cplx* parts = (const cplx*)grams + (long long)blockIdx.x * pieces * size;
    cplx *q = (cplx*)room + (long long)blockIdx.x * 2 * size, *w = q + size;
    v += (long long)blockIdx.x * frames * rank;
    sigma += (long long)blockIdx.x * rank;

    for (int e = threadIdx.x; e < size; e += blockDim.x) {
        cplx sum = {0.0, 0.0};
        for (int k = 0; k < pieces; ++k) add(sum, parts[(long long)k * size + e]);
        g[e / frames][e % frames] = sum;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        trace = 0.0;
        for (int t = 0; t < frames; ++t) trace += g[t][t].re;
    }
    __syncthreads();
    double energy = trace;
    if (energy - energy != 0.0) {  // NaN or infinite
        double nan = sqrt(-1.0);
        for (int e = threadIdx.x; e < frames * rank; e += blockDim.x)
            narrow({nan, nan}, v + e);
        for (int k = threadIdx.x; k < rank; k += blockDim.x) sigma[k] = (float)nan;
        return;
    }
    int columns = rank;
    if (iterate(g, v, steps, q, w, along, &norm, frames, rank, LOST * energy)) {
        compress(g, q, w, frames, columns);
    } else {
        columns = frames;
        for (int e = threadIdx.x; e < size; e += blockDim.x)
            q[e] = {e / frames == e % frames ? 1.0 : 0.0, 0.0};
    }
    for (int e = threadIdx.x; e < columns * columns; e += blockDim.x)
        u[e / columns][e % columns] = {e / columns == e % columns ? 1.0 : 0.0, 0.0};
    __syncthreads();
    diagonalise(g, u, turns, &busy, columns);
    __syncthreads();
    write(g, u, q, w, v, sigma, frames, columns, rank);
}
