/*
 * Loads the library late, into a thread that flushes subnormal numbers to 0, and steps on a few elements, which that thread does, and on enough for
 * others: subnormal gradients count all the same, and the thread is as it was.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <xmmintrin.h>

#include "fusestep.h"

#define LOAD(name) __typeof__(&name) call_##name = dlsym(library, #name)

int main(int argc, char **argv) {
  (void)argc;
  enum { n = 1000000 };
  char err[256] = "";
  unsigned flushing = _mm_getcsr() | 0x8040;
  _mm_setcsr(flushing);
  void *library = dlopen(argv[1], RTLD_NOW);
  if (!library) return puts(dlerror());
  LOAD(fs_device);
  LOAD(fs_new);
  LOAD(fs_add_group);
  LOAD(fs_step);
  fs_handle dev, opt;
  float *x = malloc(n * sizeof *x), *g = malloc(n * sizeof *g), want;
  double hyper[16] = {1};
  union {
    unsigned bits;
    float number;
  } value = {0x00c00000}, gradient = {0x80080000}, sum = {0x00c80000}; /* 1.5*2^-126, -2^-130 */
  want = sum.number;
  for (int i = 0; i < n; i++) x[i] = value.number, g[i] = gradient.number;
  void *values[] = {x, x + 1000}, *gradients[] = {g, g + 1000};
  const size_t lengths[] = {1000, n - 1000};
  int wrong = 0;
  if (call_fs_device(4, &dev, err, sizeof err)) return puts(err);
  for (int i = 0; i < 2; i++) {
    fs_group group = {.n = 1, .lengths = &lengths[i], .values = &values[i], .value_type = FS_F32, .hyper = hyper};
    void *const *rows[8] = {NULL, &gradients[i]};
    fs_args args = {.rows = rows};
    if (call_fs_new(dev, "SGD", &opt, err, sizeof err) || call_fs_add_group(opt, &group, err, sizeof err) || call_fs_step(opt, &args, err, sizeof err))
      return puts(err);
    if ((_mm_getcsr() & 0x8040) != 0x8040) wrong = puts("the thread flushes no more");
  }
  for (int i = 0; i < n; i++)
    if (*(unsigned *)&x[i] != *(unsigned *)&want && !wrong++) printf("element %d is %#x\n", i, *(unsigned *)&x[i]);
  free(x);
  free(g);
  return wrong != 0;
}
