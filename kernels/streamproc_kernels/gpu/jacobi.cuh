// Cyclic Jacobi on a Hermitian matrix in shared memory, by the threads of one CUDA
// block, in double precision [Golub, Van Loan, Matrix Computations, 4th ed., 8.5].

#define MAX_T 32
#define MAX_SWEEPS 12

struct cplx { double re, im; };

__device__ inline cplx wide(float a) { return {(double)a, 0.0}; }
__device__ inline cplx wide(float2 a) { return {(double)a.x, (double)a.y}; }
__device__ inline void narrow(cplx a, float* out) { *out = (float)a.re; }
__device__ inline void narrow(cplx a, float2* out)
{
    out->x = (float)a.re;
    out->y = (float)a.im;
}

__device__ inline cplx times(cplx a, cplx b)
{
    return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

// conj(a) b
__device__ inline cplx conj_times(cplx a, cplx b)
{
    return {a.re * b.re + a.im * b.im, a.re * b.im - a.im * b.re};
}

__device__ inline cplx blend(double c, cplx a, cplx s, cplx b)
{
    cplx sb = times(s, b);
    return {c * a.re + sb.re, c * a.im + sb.im};
}

// the pair that thread k turns in this round of a round-robin tournament
__device__ inline void pair_of(int k, int round, int players, int& p, int& q)
{
    int ring = players - 1;
    p = k == 0 ? ring : (round + k) % ring;
    q = (round + ring - k) % ring;
    if (p > q) { int swap = p; p = q; q = swap; }
}

struct rotation { int p, q; double c; cplx s; };

// the rotation that zeroes g[p][q] of a Hermitian g; identity where it is negligible
__device__ inline rotation rotate(const cplx (*g)[MAX_T], int p, int q, int columns)
{
    rotation turn = {p, q, 1.0, {0.0, 0.0}};
    if (q >= columns) return turn;
    cplx off = g[p][q];
    double size = sqrt(off.re * off.re + off.im * off.im);
    if (!(size > 1e-16 * sqrt(fabs(g[p][p].re * g[q][q].re)))) return turn;
    double half = (g[q][q].re - g[p][p].re) / (2.0 * size);
    double t = (half < 0.0 ? -1.0 : 1.0) / (fabs(half) + sqrt(1.0 + half * half));
    turn.c = 1.0 / sqrt(1.0 + t * t);
    turn.s = {turn.c * t * off.re / size, turn.c * t * off.im / size};
    return turn;
}

// columns p, q of m times [[c, s], [-conj(s), c]]
__device__ inline void turn_columns(cplx (*m)[MAX_T], int row, rotation r)
{
    cplx a = m[row][r.p], b = m[row][r.q];
    cplx minus = {-r.s.re, r.s.im};
    m[row][r.p] = blend(r.c, a, minus, b);
    m[row][r.q] = blend(r.c, b, r.s, a);
}

// rows p, q of m, from the left with the conjugate transpose of the same
__device__ inline void turn_rows(cplx (*m)[MAX_T], int column, rotation r)
{
    cplx a = m[r.p][column], b = m[r.q][column];
    cplx minus = {-r.s.re, -r.s.im}, conj = {r.s.re, -r.s.im};
    m[r.p][column] = blend(r.c, a, minus, b);
    m[r.q][column] = blend(r.c, b, conj, a);
}

// g becomes diagonal, not sorted; v, unitary before, takes the same turns of columns
__device__ inline void diagonalise(
    cplx (*g)[MAX_T], cplx (*v)[MAX_T], rotation* turns, int* busy, int columns)
{
    int players = (columns + 1) / 2 * 2, pairs = players / 2;
    for (int sweep = 0; sweep < MAX_SWEEPS; ++sweep) {
        if (threadIdx.x == 0) *busy = 0;
        __syncthreads();
        for (int round = 0; round < players - 1; ++round) {
            for (int k = threadIdx.x; k < pairs; k += blockDim.x) {
                int p, q;
                pair_of(k, round, players, p, q);
                turns[k] = rotate(g, p, q, columns);
                if (turns[k].c < 1.0) *busy = 1;
            }
            __syncthreads();
            for (int e = threadIdx.x; e < pairs * columns; e += blockDim.x) {
                rotation r = turns[e / columns];
                if (r.q >= columns) continue;
                turn_columns(g, e % columns, r);
                turn_columns(v, e % columns, r);
            }
            __syncthreads();
            for (int e = threadIdx.x; e < pairs * columns; e += blockDim.x) {
                rotation r = turns[e / columns];
                if (r.q < columns) turn_rows(g, e % columns, r);
            }
            __syncthreads();
        }
        int again = *busy;
        __syncthreads();
        if (!again) return;
    }
}
