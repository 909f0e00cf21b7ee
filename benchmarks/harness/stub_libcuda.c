/* A CUDA driver library without a GPU. Triton's launcher runs up to cuLaunchKernelEx, which records the launch. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef int Result;
typedef void *Handle;

/* The beginning of CUlaunchConfig. */
typedef struct {
  unsigned grid[3], block[3], shared_bytes;
  Handle stream;
} LaunchConfig;

/* The last launch. Every parameter is read as 8 bytes; the reader keeps as many as its type has. */
typedef struct {
  unsigned grid[3], block[3], shared_bytes;
  uint64_t stream, launches, parameters[64];
} Launch;

static const int SHARED_BYTES = 232448; /* of an H100 */
static int parameter_count;
static Launch last;

void stub_record(int count) { parameter_count = count < 64 ? count : 64; }
const Launch *stub_last_launch(void) { return &last; }

Result cuLaunchKernelEx(const LaunchConfig *config, Handle function, void **parameters, void **extra) {
  last.launches++;
  if (parameter_count > 0) {
    memcpy(&last, config, offsetof(Launch, stream));
    last.stream = (uint64_t)config->stream;
    for (int i = 0; i < parameter_count; i++) memcpy(&last.parameters[i], parameters[i], 8);
  }
  return 0;
}

Result cuInit(unsigned flags) { return 0; }
Result cuDriverGetVersion(int *version) { return *version = 13000, 0; }
Result cuDeviceGet(int *device, int index) { return *device = index, 0; }
Result cuDeviceGetCount(int *count) { return *count = 2, 0; }
Result cuDeviceGetAttribute(int *value, int attribute, int device) { return *value = SHARED_BYTES, 0; }
Result cuDevicePrimaryCtxRetain(Handle *context, int device) { return *context = (Handle)1, 0; }
Result cuCtxGetCurrent(Handle *context) { return *context = (Handle)1, 0; }
Result cuCtxSetCurrent(Handle context) { return 0; }
Result cuCtxGetDevice(int *device) { return *device = 0, 0; }
Result cuCtxGetLimit(size_t *value, int limit) { return *value = 1 << 20, 0; }
Result cuCtxSetLimit(int limit, size_t value) { return 0; }
Result cuModuleLoadData(Handle *module, const void *image) { return *module = (Handle)1, 0; }
Result cuModuleUnload(Handle module) { return 0; }
Result cuModuleGetFunction(Handle *function, Handle module, const char *name) { return *function = (Handle)1, 0; }
/* Attribute 0 is the maximum number of threads per block; the others are sizes and register counts. */
Result cuFuncGetAttribute(int *value, int attribute, Handle function) { return *value = attribute ? 0 : 1024, 0; }
Result cuFuncSetAttribute(Handle function, int attribute, int value) { return 0; }
Result cuFuncSetCacheConfig(Handle function, int config) { return 0; }
Result cuPointerGetAttribute(uint64_t *data, int attribute, uint64_t pointer) { return *data = pointer, 0; }
Result cuGetErrorString(Result error, const char **text) { return *text = "stub", 0; }
