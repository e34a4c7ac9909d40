// One sequence per CUDA block of one half warp; lane s is trellis state s.
// The forward values wait in `past`; likelihoods are made twice rather than stored.

const unsigned LANES = 0xffff;

__device__ inline double from_lane(double value, int lane)
{
    return __shfl_sync(LANES, value, lane, 16);
}

__device__ inline double total(double v)
{
    for (int d = 8; d; d >>= 1) v += __shfl_xor_sync(LANES, v, d, 16);
    return v;
}

// relative to the best of the row, floored at e^-100; an erased row is all one
__device__ inline double likelihood(double loglik)
{
    double best = loglik;
    int known = loglik == loglik;
    for (int d = 8; d; d >>= 1) {
        double other = __shfl_xor_sync(LANES, best, d, 16);
        best = other > best ? other : best;
        known &= __shfl_xor_sync(LANES, known, d, 16);
    }
    double least = best - best;  // NaN unless the best is finite
    if (!known || least != least) return 1.0;
    double z = loglik - best;
    return exp(z > -100.0 ? z : -100.0);
}

extern "C" __global__ void bcjr(
    const double* loglik, int symbols, int keep, double* alpha, double* llr,
    double* past)
{
    int s = threadIdx.x;
    int before = s >> 1, after = (s << 1) & 15;
    loglik += (long long)blockIdx.x * symbols * 16 + s;
    past += (long long)blockIdx.x * keep * 16 + s;
    llr += (long long)blockIdx.x * keep;
    alpha += blockIdx.x * 16 + s;

    double a = *alpha;
    for (int t = 0; t < keep; ++t) {
        a = from_lane(a, before) + from_lane(a, before + 8);
        a *= likelihood(loglik[16 * t]);
        a /= total(a);
        past[16 * t] = a;
    }
    *alpha = a;

    double b = 1.0;
    for (int t = symbols - 1; t >= 0; --t) {
        if (t < keep) {
            double joint = past[16 * t] * b;
            double one = total(s & 1 ? joint : 0.0);
            double zero = total(s & 1 ? 0.0 : joint);
            if (s == 0) llr[t] = log(one / zero);
        }
        b *= likelihood(loglik[16 * t]);
        b = from_lane(b, after) + from_lane(b, after + 1);
        b /= total(b);
    }
}
