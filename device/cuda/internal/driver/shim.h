// What the generated forwarders and the Go side share. Not for other packages.

#ifndef FUSESTEP_SHIM_H
#define FUSESTEP_SHIM_H

#include <stdatomic.h>
#include <string.h>

#include "cuda.h"
#include "table.h"

#pragma GCC visibility push(hidden)

// The exported name of each entry, with its suffix.
extern const char *const fs_symbols[FS_ENTRIES];

// How many hooks are installed. A forwarder asks Go only when there is one.
extern atomic_uint fs_hooks;
void fs_hooks_set(unsigned n);

// Offers a call to the hooks. Nonzero when one of them answered; *result then is the answer.
int fs_offer(unsigned entry, uint64_t *words, unsigned n, CUresult *result);

// Looks up an entry, opening the library if nobody has. On CUDA_SUCCESS *f is the library's function.
CUresult fs_find(unsigned entry, void *f);

// Opens the library if nobody has. The reason is empty on success and does not change afterwards.
CUresult fs_load(const char **reason);

// The same without opening it: CUDA_SUCCESS when nobody has.
CUresult fs_failure(const char **reason);

// Values of the calling OS thread, all 0 at its start.
enum { FS_LOCALS = 4 };
uint64_t fs_local_get(unsigned i);
void fs_local_set(unsigned i, uint64_t v);

#pragma GCC visibility pop

// An argument as the word that a hook sees: integers are extended with their own sign, a float is its 32 bits.
#define FS_WORD(x) ((uint64_t)(x))
static inline uint64_t fs_float(float x)
{
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}
#define FS_FLOAT(x) fs_float(x)

// The two halves of a forwarder: ask the hooks, then the library. The variables are named so as not to meet a parameter.
#define FS_OFFER(name, ...)                                                        \
  if (atomic_load_explicit(&fs_hooks, memory_order_acquire)) {                     \
    uint64_t fs_words[] = {__VA_ARGS__};                                           \
    CUresult fs_answer;                                                            \
    if (fs_offer(FS_##name, fs_words, sizeof fs_words / 8, &fs_answer))            \
      return fs_answer;                                                            \
  }

#define FS_FORWARD(name, params, args)                                             \
  CUresult(*fs_call) params;                                                       \
  CUresult fs_missing = fs_find(FS_##name, &fs_call);                              \
  return fs_missing ? fs_missing : fs_call args;

#endif
