// One thread per pixel and wanted frame; the CUDA block shares one row of v v^H.

#define MAX_FRAMES 64

// per: CUDA blocks that share the pixels of one frame
extern "C" __global__ void project(
    const float2* x, const float2* v, int first, float2* low, int frames, int pixels,
    int rank, int per)
{
    __shared__ float2 row[MAX_FRAMES];
    int wanted = frames - first;
    long long frame = blockIdx.x / per, window = frame / wanted;
    v += window * frames * rank;
    const float2* mine = v + (first + frame % wanted) * rank;
    for (int s = threadIdx.x; s < frames; s += blockDim.x) {
        float2 sum = {0.0f, 0.0f};
        for (int k = 0; k < rank; ++k) {
            float2 a = mine[k], b = v[s * rank + k];
            sum.x += a.x * b.x + a.y * b.y;
            sum.y += a.y * b.x - a.x * b.y;
        }
        row[s] = sum;
    }
    __syncthreads();
    int p = blockIdx.x % per * blockDim.x + threadIdx.x;
    if (p >= pixels) return;
    x += window * frames * pixels + p;
    float2 sum = {0.0f, 0.0f};
    for (int s = 0; s < frames; ++s) {
        float2 a = row[s], b = x[(long long)s * pixels];
        sum.x += a.x * b.x - a.y * b.y;
        sum.y += a.x * b.y + a.y * b.x;
    }
    low[frame * pixels + p] = sum;
}
