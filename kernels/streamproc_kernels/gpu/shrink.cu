// One thread per pixel of a window, over its frames; x and out may be one array.

// how much of a number is left; NaN where its modulus or tau is
__device__ inline float factor(float power, float tau)
{
    float norm = sqrtf(power);
    if (norm > tau) return 1.0f - tau / norm;
    return norm <= tau ? 0.0f : norm + tau;
}

__device__ inline void shrink(
    const float2* x, float tau, int rows, float2* out, int frames, int pixels)
{
    float power = 0.0f, short_by = 0.0f;
    if (rows) {
        for (int t = 0; t < frames; ++t) {
            float2 a = x[(long long)t * pixels];
            power += a.x * a.x + a.y * a.y;
        }
        short_by = factor(power, tau);
    }
    for (int t = 0; t < frames; ++t) {
        float2 a = x[(long long)t * pixels];
        if (!rows) short_by = factor(a.x * a.x + a.y * a.y, tau);
        out[(long long)t * pixels] = {short_by * a.x, short_by * a.y};
    }
}

extern "C" __global__ void shrink_alike(
    const float2* x, float tau, int rows, float2* out, long long columns, int frames,
    int pixels)
{
    long long c = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= columns) return;
    long long at = c / pixels * frames * pixels + c % pixels;
    shrink(x + at, tau, rows, out + at, frames, pixels);
}

extern "C" __global__ void shrink_each(
    const float2* x, const float* tau, int rows, float2* out, long long columns,
    int frames, int pixels)
{
    long long c = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= columns) return;
    long long at = c / pixels * frames * pixels + c % pixels;
    shrink(x + at, tau[c % pixels], rows, out + at, frames, pixels);
}
