/* A card that is not there: what torch asks CUDA before it compiles for a card of capability 9.0.

   `build_card.py` compiles this file, and adds every other function of NVIDIA's libraries that torch
   names: each of them does nothing and returns 0, which is success. So torch's CUDA build starts
   without a card, a driver or one of these libraries, and Inductor writes the code that it would
   write for an H100. Nothing computes here. The figures are those of an H100 SXM5 with 80 GB. */

#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#define MEMORY ((size_t)80 << 30)

/* Offsets in cudaDeviceProp of CUDA 13; `test_the_card_is_an_h100` fails if they are others. */
enum {
    SIZE = 1008, TOTAL_MEMORY = 288, SHARED_MEMORY = 296, REGISTERS = 304, WARP = 308, THREADS = 320, GRID = 336, MAJOR = 360,
    PROCESSORS = 384, L2 = 596, THREADS_OF_PROCESSOR = 604, SHARED_OF_PROCESSOR = 624, REGISTERS_OF_PROCESSOR = 632,
    SHARED_AT_MOST = 672, BLOCKS_OF_PROCESSOR = 688
};

static void set_int(char *properties, int offset, int value) { memcpy(properties + offset, &value, sizeof value); }
static void set_size(char *properties, int offset, size_t value) { memcpy(properties + offset, &value, sizeof value); }

int cudaGetDeviceProperties(char *properties, int device) {
    memset(properties, 0, SIZE);
    strcpy(properties, "NVIDIA H100 80GB HBM3");
    set_size(properties, TOTAL_MEMORY, MEMORY);
    set_size(properties, SHARED_MEMORY, 48 << 10);
    set_size(properties, SHARED_AT_MOST, 227 << 10);
    set_size(properties, SHARED_OF_PROCESSOR, 228 << 10);
    set_int(properties, REGISTERS, 65536);
    set_int(properties, REGISTERS_OF_PROCESSOR, 65536);
    set_int(properties, WARP, 32);
    set_int(properties, THREADS, 1024);
    set_int(properties, GRID, 0x7fffffff);
    set_int(properties, THREADS_OF_PROCESSOR, 2048);
    set_int(properties, MAJOR, 9);
    set_int(properties, PROCESSORS, 132);
    set_int(properties, L2, 50 << 20);
    set_int(properties, BLOCKS_OF_PROCESSOR, 32);
    return 0;
}

int cudaGetDeviceCount(int *count) { *count = 1; return 0; }
int cudaGetDevice(int *device) { *device = 0; return 0; }
int cudaMemGetInfo(size_t *free, size_t *total) { *free = *total = MEMORY; return 0; }
int cudaDriverGetVersion(int *version) { *version = 13000; return 0; }
int cudaRuntimeGetVersion(int *version) { *version = 13000; return 0; }
/* Memory is address space of the machine that is only taken where it is written, so 80 GB fit. */
int cudaMalloc(void **pointer, size_t bytes) {
    *pointer = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return *pointer == MAP_FAILED ? 2 : 0;
}
int cudaHostAlloc(void **pointer, size_t bytes, unsigned flags) { return cudaMalloc(pointer, bytes); }
int cudaMemcpy(void *to, const void *from, size_t bytes, int kind) { memcpy(to, from, bytes); return 0; }
int cudaMemcpyAsync(void *to, const void *from, size_t bytes, int kind, void *stream) {
    memcpy(to, from, bytes);
    return 0;
}

const char *cudaGetErrorString(int error) { return "this card is not there"; }
const char *cudaGetErrorName(int error) { return "this card is not there"; }

/* CUB asks for what code was compiled, and how many blocks fit. */
int cudaFuncGetAttributes(char *attributes, const void *function) {
    memset(attributes, 0, 40);
    set_int(attributes, 24, 1024);
    set_int(attributes, 32, 90);
    set_int(attributes, 36, 90);
    return 0;
}
int cudaDeviceGetAttribute(int *value, int attribute, int device) {
    *value = attribute == 75 ? 9 : attribute == 76 ? 0 : attribute == 16 ? 132 : attribute == 10 ? 32 : 1024;
    return 0;
}
int cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *function, int threads, size_t shared) {
    *blocks = 1;
    return 0;
}
int cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, const void *function, int threads,
                                                           size_t shared, unsigned flags) {
    *blocks = 1;
    return 0;
}

/* Products find an algorithm and a context. */
int cublasLtMatmulAlgoGetHeuristic(void *handle, void *operation, void *a, void *b, void *c, void *d, void *preference,
                                   int wanted, void *results, int *found) {
    *found = 1;
    return 0;
}
int cuCtxGetCurrent(void **context) { *context = (void *)1; return 0; }

/* Attention goes to cuDNN from this version on. */
size_t cudnnGetVersion(void) { return 0; }

/* A recording (CUDA graph) holds nothing here; torch asks whether one is being made. */
static int recording;
int cudaStreamBeginCapture(void *stream, int mode) { recording = 1; return 0; }
int cudaStreamEndCapture(void *stream, void **graph) { recording = 0; *graph = (void *)1; return 0; }
int cudaStreamIsCapturing(void *stream, int *status) { *status = recording; return 0; }
int cudaStreamGetCaptureInfo(void *stream, int *status, unsigned long long *id) {
    *status = recording;
    if (id) *id = 1;
    return 0;
}
int cudaGraphGetNodes(void *graph, void *nodes, size_t *count) { *count = 1; return 0; }
