// Two launches: a median for each tile, one CUDA block each, by bisection of the bits
// of powers, which order as the powers do; then, one window per CUDA block, tiles
// without samples filled, and the pixels between the tiles' centres.

#define THREADS 128
#define INFINITE 0x7f800000

struct Tile { int top, left, height, width; };

__device__ inline int edge(int i, int size, int count)
{
    return (int)((long long)i * size / count);
}

// bits of the power of sample k of a tile; 0 or INFINITE and more: it does not count
__device__ inline int bits_of(const float2* x, int k, Tile tile, int depth, int width)
{
    int area = tile.height * tile.width, at = k % area;
    int z = tile.top + at / tile.width, column = tile.left + at % tile.width;
    float2 a = x[((long long)(k / area) * depth + z) * width + column];
    return __float_as_int(a.x * a.x + a.y * a.y) & 0x7fffffff;
}

// how many known samples are not above a limit; every thread gets the sum
__device__ inline int known(
    const float2* x, int samples, Tile tile, int depth, int width, int limit, int* sums)
{
    int sum = 0;
    for (int k = threadIdx.x; k < samples; k += blockDim.x) {
        int bits = bits_of(x, k, tile, depth, width);
        sum += bits > 0 && bits < INFINITE && bits <= limit;
    }
    sums[threadIdx.x] = sum;
    __syncthreads();
    sum = 0;
    for (int k = 0; k < blockDim.x; ++k) sum += sums[k];
    __syncthreads();
    return sum;
}

// grid: (B, 2, down, across), the first of each two is written
extern "C" __global__ void noise_scale_medians(
    const float2* x, double* grid, int frames, int depth, int width, int down,
    int across)
{
    __shared__ int sums[THREADS];
    int tiles = down * across, mine = blockIdx.x % tiles;
    long long window = blockIdx.x / tiles;
    int i = mine / across, j = mine % across;
    Tile tile = {edge(i, depth, down), edge(j, width, across), 0, 0};
    tile.height = edge(i + 1, depth, down) - tile.top;
    tile.width = edge(j + 1, width, across) - tile.left;
    int samples = frames * tile.height * tile.width;
    x += window * frames * depth * width;
    int all = known(x, samples, tile, depth, width, INFINITE, sums);
    int low = 1, high = INFINITE - 1;  // the median is in between, or one of them
    while (all && low < high) {
        int middle = low + (high - low) / 2;
        int below = known(x, samples, tile, depth, width, middle, sums);
        if (below > (all - 1) / 2) high = middle;
        else low = middle + 1;
    }
    if (threadIdx.x == 0)
        grid[window * 2 * tiles + mine] =
            all ? sqrt((double)__int_as_float(low) / 0.69314718055994530942) : 0.0;
}

// mean of the tiles around one that have a value, 0 where none has
__device__ inline double around(const double* grid, int i, int j, int down, int across)
{
    double sum = 0.0;
    int count = 0;
    for (int y = i > 0 ? i - 1 : 0; y <= i + 1 && y < down; ++y)
        for (int z = j > 0 ? j - 1 : 0; z <= j + 1 && z < across; ++z) {
            sum += grid[y * across + z];
            count += grid[y * across + z] > 0.0;
        }
    return count ? sum / count : 0.0;
}

// tiles without a value get one from those around, in rounds; by one thread
__device__ inline void fill(double* grid, double* before, int down, int across)
{
    int tiles = down * across, left = 0, last = tiles + 1;
    for (int e = 0; e < tiles; ++e) left += grid[e] == 0.0;
    while (left && left < last) {
        last = left;
        left = 0;
        for (int e = 0; e < tiles; ++e) before[e] = grid[e];
        for (int e = 0; e < tiles; ++e)
            if (before[e] == 0.0) {
                grid[e] = around(before, e / across, e % across, down, across);
                left += grid[e] == 0.0;
            }
    }
}

__device__ inline double centre(int i, int size, int count)
{
    return (edge(i, size, count) + edge(i + 1, size, count) - 1) / 2.0;
}

// the tile whose centre is not beyond a pixel, and the share of the next
__device__ inline int share(int at, int size, int count, double* next)
{
    int i = 0;
    while (i + 2 < count && centre(i + 1, size, count) <= at) ++i;
    *next = 0.0;
    if (count == 1) return 0;
    double begin = centre(i, size, count), end = centre(i + 1, size, count);
    *next = fmin(fmax((at - begin) / (end - begin), 0.0), 1.0);
    return i;
}

extern "C" __global__ void noise_scale_spread(
    double* grid, float* out, int depth, int width, int down, int across)
{
    int tiles = down * across;
    grid += (long long)blockIdx.x * 2 * tiles;
    out += (long long)blockIdx.x * depth * width;
    if (threadIdx.x == 0) fill(grid, grid + tiles, down, across);
    __syncthreads();
    for (int e = threadIdx.x; e < depth * width; e += blockDim.x) {
        double lower, right;
        int i = share(e / width, depth, down, &lower);
        int j = share(e % width, width, across, &right);
        int below = i + 1 < down ? i + 1 : i, beside = j + 1 < across ? j + 1 : j;
        double top = (1.0 - right) * grid[i * across + j]
                   + right * grid[i * across + beside];
        double bottom = (1.0 - right) * grid[below * across + j]
                      + right * grid[below * across + beside];
        out[e] = (float)((1.0 - lower) * top + lower * bottom);
    }
}
