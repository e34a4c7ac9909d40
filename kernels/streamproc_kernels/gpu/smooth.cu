// One thread per sample: the columns that the taps reach, filtered along z, then x.

extern "C" __global__ void smooth(
    const float2* x, const float* taps_z, const float* taps_x, float2* out,
    long long samples, int depth, int width, int count_z, int count_x)
{
    long long e = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (e >= samples) return;
    int at = (int)(e % width), z = (int)(e / width % depth);
    x += e / width / depth * depth * width;
    float2 sum = {0.0f, 0.0f};
    for (int j = 0; j < count_x; ++j) {
        int column = at + j - count_x / 2;
        if (column < 0 || column >= width) continue;
        float2 line = {0.0f, 0.0f};
        for (int i = 0; i < count_z; ++i) {
            int row = z + i - count_z / 2;
            if (row < 0 || row >= depth) continue;
            float2 a = x[(long long)row * width + column];
            line.x += taps_z[i] * a.x;
            line.y += taps_z[i] * a.y;
        }
        sum.x += taps_x[j] * line.x;
        sum.y += taps_x[j] * line.y;
    }
    out[e] = sum;
}
