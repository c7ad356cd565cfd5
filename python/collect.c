/*
 * The addresses of a list of tensors and of their gradients, read by DLPack's C exchange API and checked, in one call: 10,000 tensors take Python
 * several milliseconds. Python's functions come as addresses, so that this needs none of its headers and fits every CPython 3.
 */
#include <stddef.h>
#include <stdint.h>

/* dlpack.h, version 1: what is read of it. */
typedef struct {
  void *data;
  struct { int32_t type, id; } device;
  int32_t ndim;
  struct { uint8_t code, bits; uint16_t lanes; } dtype;
  int64_t *shape, *strides;
  uint64_t byte_offset;
} tensor;

typedef struct {
  int (*tensor_of)(void *object, tensor *out);     /* dltensor_from_py_object_no_sync */
  void *(*list_item)(void *list, ptrdiff_t i);     /* PyList_GetItem, a borrowed reference */
  void *(*attribute)(void *object, void *name);    /* PyObject_GetAttr, a new reference */
  void (*release)(void *object);                   /* Py_DecRef */
  void *none, *grad;                               /* None, "grad" */
} python;

/* A tensor, and what it and its gradient must be. Dims are ndim lengths and as many strides. A stride of a length of 1 says nothing. */
typedef struct {
  void *object;
  const int64_t *dims;
  int32_t ndim;
  uint8_t code, bits, grad_code, grad_bits;
} layout;

enum { CPU = 1 };
enum { VALUE = 0, GRADIENT = 1, EXCEPTION = 2 };

static int fits(const tensor *t, const layout *l, int code, int bits) {
  if (t->device.type != CPU || t->ndim != l->ndim || t->dtype.code != code || t->dtype.bits != bits || t->dtype.lanes != 1) return 0;
  for (int32_t d = 0; d < l->ndim; d++)
    if (t->shape[d] != l->dims[d] || (l->dims[d] != 1 && t->strides[d] != l->dims[l->ndim + d])) return 0;
  return 1;
}

/* Releases n references, those that are not NULL. */
void release(const python *py, void **held, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    void *object = held[i];
    held[i] = NULL;
    if (object) py->release(object);
  }
}

/*
 * Fills the addresses of n tensors, 0 for a gradient that is None, and mask with whether there is one. Held gets references to the gradients, NULL for
 * one that is None, all of which are the caller's to release, whatever the result is. The result is how many gradients are None, or -1 - 4i - what is wrong
 * with tensor i. With EXCEPTION Python has an exception.
 */
int64_t collect(const python *py, int64_t n, const layout *layouts, uint64_t *values, uint64_t *gradients, uint8_t *mask, void **held) {
  int64_t none = 0;
  for (int64_t i = 0; i < n; i++) {
    const layout *l = layouts + i;
    tensor t;
    if (py->tensor_of(l->object, &t)) return -1 - 4 * i - EXCEPTION;
    if (!fits(&t, l, l->code, l->bits)) return -1 - 4 * i - VALUE;
    values[i] = (uint64_t)(uintptr_t)t.data + t.byte_offset;
    void *g = py->attribute(l->object, py->grad);
    if (!g) return -1 - 4 * i - EXCEPTION;
    mask[i] = g != py->none;
    if (!mask[i]) {
      none++;
      gradients[i] = 0;
      py->release(g);
      continue;
    }
    held[i] = g;
    if (py->tensor_of(g, &t)) return -1 - 4 * i - EXCEPTION;
    if (!fits(&t, l, l->grad_code, l->grad_bits)) return -1 - 4 * i - GRADIENT;
    gradients[i] = (uint64_t)(uintptr_t)t.data + t.byte_offset;
  }
  return none;
}

/* Whether a list of n objects has these. */
int same(const python *py, void *list, int64_t n, void *const *objects) {
  for (int64_t i = 0; i < n; i++)
    if (py->list_item(list, i) != objects[i]) return 0;
  return 1;
}

/*
 * Adds 1 to n numbers, of so many bits, where mask says so; NULL: everywhere. The code of torch's own operation has left the caches when a step is over:
 * it takes longer than a small step.
 */
void count(void *numbers, int bits, int64_t n, const uint8_t *mask) {
  float *narrow = numbers;
  double *wide = numbers;
  for (int64_t i = 0; i < n; i++) {
    if (mask && !mask[i]) continue;
    if (bits == 64) wide[i] += 1;
    else narrow[i] += 1;
  }
}
