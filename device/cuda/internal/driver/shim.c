//go:build cuda && cgo && linux

#include "shim.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>

#include "_cgo_export.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static void *functions[FS_ENTRIES];
static CUresult status;
static char reason[512];

static atomic_uint loaded; // set when status and reason have their final values

atomic_uint fs_hooks;
void fs_hooks_set(unsigned n) { atomic_store(&fs_hooks, n); }

// Every failure is CUDA_ERROR_SHARED_OBJECT_INIT_FAILED or what the library's own cuInit said.
//
// Symbols are looked up with dlsym and the suffix of our table: drivers keep exporting what they once exported.
// cuGetProcAddress would hand out the newest form of a function, whose parameters differ.
static void open_library(void)
{
  void *lib = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!lib) {
    const char *why = dlerror();
    snprintf(reason, sizeof reason, "%s", why ? why : "libcuda.so.1 cannot be opened");
    status = CUDA_ERROR_SHARED_OBJECT_INIT_FAILED;
    return;
  }
  for (unsigned i = 0; i < FS_ENTRIES; i++)
    functions[i] = dlsym(lib, fs_symbols[i]);
  CUresult (*init)(unsigned int);
  memcpy(&init, &functions[FS_cuInit], sizeof init);
  if (!init) {
    snprintf(reason, sizeof reason, "libcuda.so.1 has no cuInit");
    status = CUDA_ERROR_SHARED_OBJECT_INIT_FAILED;
    return;
  }
  status = init(0);
  if (status)
    snprintf(reason, sizeof reason, "cuInit failed with code %u", status);
}

static void load(void)
{
  open_library();
  atomic_store(&loaded, 1);
}

CUresult fs_load(const char **why)
{
  pthread_once(&once, load);
  *why = reason;
  return status;
}

CUresult fs_failure(const char **why)
{
  *why = reason;
  return atomic_load(&loaded) ? status : CUDA_SUCCESS;
}

CUresult fs_find(unsigned entry, void *f)
{
  pthread_once(&once, load);
  if (status)
    return status;
  if (!functions[entry])
    return CUDA_ERROR_NOT_SUPPORTED;
  memcpy(f, &functions[entry], sizeof functions[entry]);
  return CUDA_SUCCESS;
}

int fs_offer(unsigned entry, uint64_t *words, unsigned n, CUresult *result)
{
  return fusestepDriverHook(entry, words, n, result);
}

// cuInit succeeds whatever the machine has, since gorgonia.org/cu exits the process when it does not. The library's
// own cuInit runs in open_library.
CUresult cuInit(unsigned int flags)
{
  FS_OFFER(cuInit, FS_WORD(flags))
  return CUDA_SUCCESS;
}

static __thread uint64_t locals[FS_LOCALS];

uint64_t fs_local_get(unsigned i) { return locals[i]; }
void fs_local_set(unsigned i, uint64_t v) { locals[i] = v; }
