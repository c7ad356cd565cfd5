// A libcuda.so.1 for the tests of package driver: a few functions, under the names that a real one exports.

#include <stdatomic.h>
#include <stddef.h>

static atomic_int initialized;

// FAIL_INIT makes it the library of a machine whose device is gone.
unsigned cuInit(unsigned flags)
{
  initialized++;
#ifdef FAIL_INIT
  return 100;
#endif
  return flags;
}

unsigned cuDeviceGetCount(int *n) { *n = 7; return 0; }

// A call from the library to itself. It must end in the function above, not in our forwarder.
unsigned cuDriverGetVersion(int *v)
{
  unsigned result = cuDeviceGetCount(v);
  *v += 12000;
  return result;
}

unsigned cuDeviceGetAttribute(int *v, unsigned attribute, int device)
{
  *v = attribute == 1 ? initialized : device;
  return 0;
}

// The old function of this name took 32-bit addresses; the forwarder has to take the other.
unsigned cuMemAlloc(unsigned *p, unsigned n) { *p = 0; return 999; }
unsigned cuMemAlloc_v2(unsigned long long *p, size_t n) { *p = 0x700000000000 + n; return 0; }

unsigned cuMemFree_v2(unsigned long long p) { return p == 0x700000000040 ? 0 : 1; }

unsigned cuGetErrorString(unsigned e, const char **s)
{
  *s = e == 2 ? "out of memory" : NULL;
  return e == 2 ? 0 : 1;
}
