/*
 * The addresses of a list of tensors and of their gradients, checked, in one call, and what a step does to each tensor beside: 10,000 tensors take
 * Python several milliseconds. Addresses are read by torch's own functions, or by DLPack's C exchange API. Torch's and Python's functions come as
 * addresses, so that this needs none of their headers and fits every CPython 3.
 */
#include <stddef.h>
#include <stdint.h>

typedef struct {
  void *(*list_item)(void *list, ptrdiff_t i);     /* PyList_GetItem, a borrowed reference */
  void *(*attribute)(void *object, void *name);    /* PyObject_GetAttr, a new reference */
  void *(*call)(void *callable, void *argument);   /* PyObject_CallOneArg, a new reference */
  void (*release)(void *object);                   /* Py_DecRef */
  void *none, *yes, *grad, *is_neg;                /* None, True, "grad", torch.Tensor.is_neg */
} python;

/*
 * Torch's functions, and where its objects have what they are asked for, as _internals.py has found and tried them. An at::Tensor is a pointer to its
 * TensorImpl, and what has a pointer to a tensor here is const void *const *.
 */
typedef struct {
  const void *const *(*grad)(const void *impl);                 /* c10::TensorImpl::grad */
  int32_t (*data)(const void *const *tensor, void **out);       /* aoti_torch_get_data_ptr, and so on */
  int32_t (*dtype)(const void *const *tensor, int32_t *out);
  int32_t (*dim)(const void *const *tensor, int64_t *out);
  int32_t (*sizes)(const void *const *tensor, const int64_t **out);
  int32_t (*strides)(const void *const *tensor, const int64_t **out);
  int32_t (*device)(const void *const *tensor, int32_t *out);   /* its index, of a GPU */
  int32_t (*assign)(const void *const *tensor, const void **to);/* aoti_torch_assign_tensors, which counts references */
  const void *undefined;                                        /* the tensor that a gradient is which is None */
  uint64_t dense, inference;                                    /* the dispatch keys of plain tensors there, also of inference mode's */
  int64_t type, tensor, keys;                                   /* offsets: in a Python object its type and its at::Tensor, in a TensorImpl its keys, */
  int64_t storage, autograd, counter;                           /* and the pointers to its storage, to what autograd knows, and to what counts changes, */
  int64_t version;                                              /* and there their number */
} torch;

enum { CUDA = 2 }; /* DLPack's number of the kind of device */

enum { WORDS = 24 };

/* What a tensor and its gradient must be, of all tensors that must be the same. Dims are ndim lengths and as many strides. A stride of a length of 1 says nothing. */
typedef struct {
  const void *type;
  const int64_t *dims;
  int32_t ndim, dtype, grad_dtype; /* torch's numbers of types */
  int32_t device, id; /* the kind of device, and which of these */
  uint8_t code, bits, grad_code, grad_bits; /* DLPack's */
  uint8_t empty; /* whether a length is 0 */
  uint8_t words, word[WORDS]; /* which words of a TensorImpl say all this; of 0 it is not known */
  uint64_t seen[2][2][WORDS]; /* theirs, of tensors and of gradients, of the last two that were asked for all and differed */
} layout;

typedef struct {
  char *object;
  layout *is;
} tensor;

struct dltensor;

/* What is read, by what, and where it goes to. */
typedef struct {
  const torch *torch;
  const python *python;
  int (*exchange)(void *object, struct dltensor *out); /* DLPack's dltensor_from_py_object_no_sync */
  int64_t n;
  const tensor *tensors;
  uint64_t *values, *gradients; /* addresses, 0 for a gradient that is None */
  uint8_t *mask; /* whether there is one */
  const void **held; /* the gradients, so that they stay */
} collector;

static int same_dims(const layout *l, const int64_t *shape, const int64_t *strides) {
  for (int32_t d = 0; d < l->ndim; d++)
    if (shape[d] != l->dims[d] || (l->dims[d] != 1 && strides[d] != l->dims[l->ndim + d])) return 0;
  return 1;
}

static const void *at(const void *object, int64_t offset) { return *(const void *const *)((const char *)object + offset); }

static int equal(const layout *l, const uint64_t *impl, const uint64_t *seen) {
  uint64_t differ = !l->words;
  for (int i = 0; i < l->words; i++) differ |= impl[l->word[i]] ^ seen[i];
  return !differ;
}

/* Asks torch's functions whether a tensor is what it must be, and remembers its words. */
static int ask(const torch *t, const void *const *x, layout *l, int32_t dtype, uint64_t seen[2][WORDS]) {
  const uint64_t *impl = *x;
  int32_t is, id;
  int64_t dim;
  const int64_t *shape, *strides;
  if (t->dtype(x, &is) || is != dtype || t->dim(x, &dim) || dim != l->ndim || t->sizes(x, &shape) || t->strides(x, &strides)) return 0;
  if (!same_dims(l, shape, strides) || (l->device == CUDA && (t->device(x, &id) || id != l->id))) return 0;
  for (int i = 0; i < l->words; i++) seen[1][i] = seen[0][i], seen[0][i] = impl[l->word[i]];
  return 1;
}

/*
 * The address of a tensor, or of a gradient, that is what it must be; 0: it is not. Where it is says torch alone. All else is asked for where the words
 * that say it are not those of one that was asked.
 */
static int address(const torch *t, const void *const *x, layout *l, int gradient, uint64_t *out) {
  uint64_t(*seen)[WORDS] = l->seen[gradient];
  void *data;
  if (!equal(l, *x, seen[0]) && !equal(l, *x, seen[1])) {
    uint64_t keys = (uint64_t)(uintptr_t)at(*x, t->keys);
    if (keys != t->dense && !(gradient && keys == t->inference)) return 0;
    if (!ask(t, x, l, gradient ? l->grad_dtype : l->dtype, seen)) return 0;
  }
  if (t->data(x, &data) || (!data && !l->empty)) return 0;
  *out = (uint64_t)(uintptr_t)data;
  return 1;
}

static const void *const *tensor_of(const collector *c, int64_t i) { return (const void *const *)(c->tensors[i].object + c->torch->tensor); }

static uint32_t *version_of(const collector *c, int64_t i) {
  const char *counter = at(*tensor_of(c, i), c->torch->counter);
  return counter ? (uint32_t *)(counter + c->torch->version) : NULL;
}

/*
 * Where a step has left nothing of tensors in the caches, waiting for memory, and for where its pages are, is nearly all that there is to do. So what a
 * tensor leads to is asked for blocks of tensors ahead, one pointer further with each block, while others are worked on. What is asked for is a hint:
 * nothing happens where it is no memory at all.
 */
enum { BLOCK = 4, IMPL = 176, STORAGE = 64, AUTOGRAD = 48, COUNTER = 20 };

static void fetch(const void *object, int bytes) {
  for (int i = 0; i < bytes; i += 64) __builtin_prefetch((const char *)object + i);
  __builtin_prefetch((const char *)object + bytes - 1);
}

static int64_t clip(int64_t i, int64_t n) { return i < 0 ? 0 : i < n ? i : n; }

#define EACH(i, blocks) \
  for (int64_t i = clip(first + (blocks) * BLOCK, c->n), i##_end = clip(first + (blocks + 1) * BLOCK, c->n); i < i##_end; i++)

/* Takes back from n tensors, where mask says so, that they have changed. */
static void retract(const collector *c, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    uint32_t *version = c->mask[i] ? version_of(c, i) : NULL;
    if (version) __atomic_fetch_sub(version, 1, __ATOMIC_SEQ_CST);
  }
}

/*
 * Finds where tensors and their gradients are, and tells autograd that those with a gradient have changed: what that writes to is in the cache now, and
 * is not when the step has been taken. Held are undefined before, and become the gradients, which the caller has to drop, whatever the result is. The
 * result is how many gradients are None, or -1: a tensor is not what it must be, or nothing that this knows, and nothing has changed.
 */
int64_t collect(const collector *c) {
  const torch *t = c->torch;
  const void *const *grads[4 * BLOCK]; /* of the blocks that are under way */
  int64_t none = 0, done = 0;
  for (int64_t first = -5 * BLOCK; first < c->n; first += BLOCK) {
    EACH(i, 5) __builtin_prefetch(c->tensors[i].object);
    EACH(i, 4) fetch(*tensor_of(c, i), IMPL);
    EACH(i, 3) {
      const void *impl = *tensor_of(c, i);
      if (at(c->tensors[i].object, t->type) != c->tensors[i].is->type || !impl) goto other;
      fetch(at(impl, t->autograd), AUTOGRAD);
      fetch(at(impl, t->storage), STORAGE);
      fetch(at(impl, t->counter), COUNTER);
    }
    EACH(i, 2) {
      grads[i % (4 * BLOCK)] = t->grad(*tensor_of(c, i));
      fetch(*grads[i % (4 * BLOCK)], IMPL);
    }
    EACH(i, 1) fetch(at(*grads[i % (4 * BLOCK)], t->storage), STORAGE);
    EACH(i, 0) {
      layout *l = c->tensors[i].is;
      const void *const *value = tensor_of(c, i), *const *grad = grads[i % (4 * BLOCK)];
      uint32_t *version = version_of(c, i);
      c->mask[i] = 0;
      done = i + 1;
      if (!version || !address(t, value, l, 0, c->values + i)) goto other;
      if (*grad == t->undefined) {
        none++;
        c->gradients[i] = 0;
        continue;
      }
      if (!address(t, grad, l, 1, c->gradients + i) || t->assign(grad, c->held + i)) goto other;
      __atomic_fetch_add(version, 1, __ATOMIC_SEQ_CST);
      c->mask[i] = 1;
    }
    continue;
  other:
    retract(c, done);
    return -1;
  }
  return none;
}

/* Makes what is held undefined, and takes back, where no step was taken, that tensors have changed. */
void drop(const collector *c, int taken) {
  const torch *t = c->torch;
  if (!taken) retract(c, c->n);
  for (int64_t first = -BLOCK; first < c->n; first += BLOCK) {
    EACH(i, 1) __builtin_prefetch(c->held[i]);
    EACH(i, 0)
      if (c->held[i] != t->undefined) t->assign(&t->undefined, c->held + i);
  }
}

/* dlpack.h, version 1: what is read of it. */
struct dltensor {
  void *data;
  struct { int32_t type, id; } device;
  int32_t ndim;
  struct { uint8_t code, bits; uint16_t lanes; } dtype;
  int64_t *shape, *strides;
  uint64_t byte_offset;
};

static int address_by_dlpack(const collector *c, void *object, const layout *l, int code, int bits, uint64_t *out) {
  const python *py = c->python;
  struct dltensor t;
  void *negative = py->call(py->is_neg, object); /* whether its numbers are to be negated: DLPack has no word for it */
  if (!negative) return 0;
  py->release(negative);
  if (negative == py->yes || c->exchange(object, &t)) return 0;
  if (t.device.type != l->device || t.device.id != l->id || t.ndim != l->ndim || t.dtype.code != code || t.dtype.bits != bits || t.dtype.lanes != 1) return 0;
  *out = (uint64_t)(uintptr_t)t.data + t.byte_offset;
  if (!t.data && !l->empty) return 0;
  return same_dims(l, t.shape, t.strides);
}

/* As collect, by DLPack, and nobody is told of changes. Held, NULL before, gets references to Python's objects. It may leave an exception. */
int64_t collect_by_dlpack(const collector *c) {
  const python *py = c->python;
  int64_t none = 0;
  for (int64_t i = 0; i < c->n; i++) {
    char *object = c->tensors[i].object;
    const layout *l = c->tensors[i].is;
    if (!address_by_dlpack(c, object, l, l->code, l->bits, c->values + i)) return -1;
    void *g = py->attribute(object, py->grad);
    if (!g) return -1;
    c->mask[i] = g != py->none;
    if (!c->mask[i]) {
      none++;
      c->gradients[i] = 0;
      py->release(g);
      continue;
    }
    c->held[i] = g;
    if (!address_by_dlpack(c, g, l, l->grad_code, l->grad_bits, c->gradients + i)) return -1;
  }
  return none;
}

/* Releases what collect_by_dlpack has held. */
void release(const collector *c, int taken) {
  (void)taken;
  for (int64_t i = 0; i < c->n; i++) {
    void *object = (void *)c->held[i];
    c->held[i] = NULL;
    if (object) c->python->release(object);
  }
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

/*
 * Threads of OpenMP, which torch's operations run on: between two of them they spin for a while, and threads of anybody else's would have no processor
 * then. Its functions come as addresses, too: GOMP_parallel and omp_get_thread_num.
 */
static void (*region)(void (*each)(void *), void *arg, unsigned threads, unsigned flags);
static int (*number)(void);

void lend(void (*of_region)(void (*)(void *), void *, unsigned, unsigned), int (*of_number)(void)) { region = of_region, number = of_number; }

typedef struct {
  void (*work)(void *arg, int i);
  void *arg;
} shared;

static void each(void *x) {
  const shared *s = x;
  s->work(s->arg, number());
}

/* An fs_parallel. */
void parallel(int n, void (*work)(void *arg, int i), void *arg) {
  shared s = {work, arg};
  region(each, &s, (unsigned)n, 0);
}
