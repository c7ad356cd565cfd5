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
  int64_t version;                                              /* and there their number; */
  int64_t offset, references;                                   /* in a TensorImpl also where in its storage it begins, and how many refer to it; */
  int64_t gradient;                                             /* in what autograd knows the gradient's at::Tensor; */
  int64_t memory, special;                                      /* in a StorageImpl where its memory is, and a word in which these bits are 0 */
  uint64_t bits;                                                /* where nobody has to ask before writing there; 0: of these five nothing is known */
} torch;

enum { CUDA = 2 }; /* DLPack's number of the kind of device */

enum { WORDS = 24 };

/* What a tensor and its gradient must be, of all tensors that must be the same. Dims are ndim lengths and as many strides. A stride of a length of 1 says nothing. */
typedef struct {
  const void *type;
  const int64_t *dims;
  int32_t ndim, dtype, grad_dtype; /* torch's numbers of types */
  int32_t device, id; /* the kind of device, and which of these */
  uint8_t code, bits, grad_code, grad_bits; /* DLPack's; and how many an element has */
  uint8_t empty; /* whether a length is 0 */
  uint8_t words, word[WORDS]; /* which words of a TensorImpl say all this; of 0 it is not known */
  uint64_t seen[2][2][WORDS]; /* theirs, of tensors and of gradients, of the last two that were asked for all and differed */
} layout;

typedef struct {
  char *object;
  layout *is;
} tensor;

struct dltensor;

/* Numbers of steps, of tensors one behind the other. */
typedef struct {
  void *numbers;
  int64_t first, n;
  int32_t bits;
} steps;

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
  int64_t many;      /* from how many tensors on several threads read them */
  int32_t threads;   /* so many, if they are lent */
  int32_t together;  /* whether they have worked at the last step */
  int32_t counts;    /* how many there are of */
  const steps *steps;
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
 * What a look at something comes to. It is LATER where it takes a function of torch's that may wait for the GIL, or that no two threads may call for one
 * tensor: where several threads look, the caller's does it, when the others are done.
 */
enum { OTHER, FOUND, LATER };

/* Where a tensor, or a gradient, is, if it is what it must be. That is asked for where the words that say it are not those of one that was asked. */
static int address(const torch *t, const void *const *x, layout *l, int gradient, int alone, uint64_t *out) {
  uint64_t(*seen)[WORDS] = l->seen[gradient];
  if (!equal(l, *x, seen[0]) && !equal(l, *x, seen[1])) {
    uint64_t keys = (uint64_t)(uintptr_t)at(*x, t->keys);
    if (!alone) return LATER;
    if (keys != t->dense && !(gradient && keys == t->inference)) return OTHER;
    if (!ask(t, x, l, gradient ? l->grad_dtype : l->dtype, seen)) return OTHER;
  }
  const char *storage = at(*x, t->storage);
  void *data;
  if (!l->empty && t->bits && storage && !((uint64_t)(uintptr_t)at(storage, t->special) & t->bits)) {
    int64_t before = (int64_t)(intptr_t)at(*x, t->offset) * ((gradient ? l->grad_bits : l->bits) / 8);
    if (!(data = (void *)at(storage, t->memory))) return OTHER;
    *out = (uint64_t)(uintptr_t)data + (uint64_t)before;
    return FOUND;
  }
  if (!alone) return LATER;
  if (t->data(x, &data) || (!data && !l->empty)) return OTHER;
  *out = (uint64_t)(uintptr_t)data;
  return FOUND;
}

/*
 * Counts one reference more to a tensor, or one less, and says whether that was all there is to it: nothing ends with it, and no Python object begins or
 * ceases to be held. The count's first bit says that there is such an object. It holds one reference itself, and is held as long as there is another.
 */
static int refer(const torch *t, const void *to, int change) {
  if (!t->bits) return 0;
  uint64_t *count = (uint64_t *)((char *)to + t->references), is = __atomic_load_n(count, __ATOMIC_RELAXED);
  do {
    int64_t fewer = (int64_t)(uint32_t)is + (change < 0 ? change : 0);
    if (fewer < (is >> 63 ? 2 : 1)) return 0;
  } while (!__atomic_compare_exchange_n(count, &is, is + (uint64_t)(int64_t)change, 1, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
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
enum { STEP = 4, AHEAD = 32, IMPL = 176 };

static void fetch(const void *object, int64_t from, int64_t end) {
  for (int64_t i = from; i < end; i += 64) __builtin_prefetch((const char *)object + i);
  __builtin_prefetch((const char *)object + end - 1);
}

static void fetch_storage(const torch *t, const void *storage) {
  __builtin_prefetch((const char *)storage + t->memory);
  __builtin_prefetch((const char *)storage + t->special);
}

static const void *const *gradient_of(const torch *t, const void *impl) {
  if (!t->bits) return t->grad(impl);
  const char *known = at(impl, t->autograd);
  return known ? (const void *const *)(known + t->gradient) : &t->undefined;
}

static int inside(int64_t i, int64_t from, int64_t end) { return from <= i && i < end; }

enum { NONE, SOME, UNSEEN }; /* what mask says of a gradient. In the end it is None or there */

/*
 * Finds where tensors from .. end and their gradients are, one after the other, up to one that is LATER or OTHER. Those with a gradient have changed, as
 * autograd is told: what that writes to is in the cache now, and is not when the step has been taken.
 */
static int find(const collector *c, int64_t from, int64_t end, int alone) {
  const torch *t = c->torch;
  const void *const *grads[3 * STEP]; /* of those that are under way */
  for (int64_t i = from - 5 * STEP, j; i < end; i++) {
    if (inside(j = i + 5 * STEP, from, end)) fetch(c->tensors[j].object, t->type, t->tensor + 8);
    if (inside(j = i + 4 * STEP, from, end)) fetch(*tensor_of(c, j), 0, IMPL);
    if (inside(j = i + 3 * STEP, from, end)) {
      const void *impl = *tensor_of(c, j);
      if (at(c->tensors[j].object, t->type) != c->tensors[j].is->type || !impl) return OTHER;
      __builtin_prefetch((const char *)at(impl, t->autograd) + t->gradient);
      __builtin_prefetch((const char *)at(impl, t->counter) + t->version);
      fetch_storage(t, at(impl, t->storage));
    }
    if (inside(j = i + 2 * STEP, from, end)) {
      grads[j % (3 * STEP)] = gradient_of(t, *tensor_of(c, j));
      fetch(*grads[j % (3 * STEP)], 0, IMPL);
    }
    if (inside(j = i + STEP, from, end)) fetch_storage(t, at(*grads[j % (3 * STEP)], t->storage));
    if (i < from) continue;
    layout *l = c->tensors[i].is;
    const void *const *value = tensor_of(c, i), *const *grad = grads[i % (3 * STEP)];
    uint32_t *version = version_of(c, i);
    int is = version ? address(t, value, l, 0, alone, c->values + i) : OTHER, none = *grad == t->undefined;
    if (is == FOUND && !none) is = address(t, grad, l, 1, alone, c->gradients + i);
    if (is != FOUND) return is;
    if (none) {
      c->gradients[i] = 0;
    } else {
      if (refer(t, *grad, 1)) c->held[i] = *grad;
      else if (!alone) return LATER;
      else if (t->assign(grad, c->held + i)) return OTHER;
      __atomic_fetch_add(version, 1, __ATOMIC_SEQ_CST);
    }
    c->mask[i] = none ? NONE : SOME;
  }
  return FOUND;
}

/* Makes what is held of tensors from .. end undefined; not alone, of those alone that others hold, too. */
static int leave(const collector *c, int64_t from, int64_t end, int alone) {
  const void *undefined = c->torch->undefined;
  for (int64_t i = from; i < end; i++) {
    if (i + AHEAD < end) __builtin_prefetch((const char *)c->held[i + AHEAD] + c->torch->references);
    if (c->held[i] == undefined) continue;
    if (refer(c->torch, c->held[i], -1)) c->held[i] = undefined;
    else if (alone) c->torch->assign(&c->torch->undefined, c->held + i);
  }
  return FOUND;
}

/*
 * Threads of OpenMP, which torch's operations run on: between two of them they spin for a while, and threads of anybody else's would have no processor
 * then. Its functions come as addresses, too: GOMP_parallel and omp_get_thread_num. In a child of fork there are none.
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

static int ran; /* whether the library has run something on them since tensors were collected: it finds out what is faster */

/* An fs_parallel. */
void parallel(int n, void (*work)(void *arg, int i), void *arg) {
  shared s = {work, arg};
  __atomic_store_n(&ran, 1, __ATOMIC_RELAXED);
  region(each, &s, (unsigned)n, 0);
}

/* What threads do to tensors, a few at a time. */
enum { FEW = 256 };

typedef struct {
  const collector *c;
  int (*work)(const collector *c, int64_t from, int64_t end, int alone);
  int64_t next;
} few;

static void take(void *x) {
  few *f = x;
  for (int64_t i; (i = __atomic_fetch_add(&f->next, FEW, __ATOMIC_RELAXED)) < f->c->n;)
    f->work(f->c, i, i + FEW < f->c->n ? i + FEW : f->c->n, 0);
}

/* Does to all tensors on several threads what does not have to be done alone, where that pays. */
static void together(const collector *c, int (*work)(const collector *, int64_t, int64_t, int)) {
  few f = {c, work, 0};
  if (c->together && region && c->torch->bits && c->n >= c->many) region(take, &f, (unsigned)c->threads, 0);
}

/* Takes back that tensors have changed. */
static void retract(const collector *c) {
  for (int64_t i = 0; i < c->n; i++)
    if (c->mask[i] == SOME) __atomic_fetch_sub(version_of(c, i), 1, __ATOMIC_SEQ_CST);
}

/*
 * Finds where tensors and their gradients are, and tells autograd that those with a gradient have changed. Held are undefined before, and become the
 * gradients, which the caller has to drop, whatever the result is. The result is how many gradients are None, or -1: a tensor is not what it must be, or
 * nothing that this knows, and nothing has changed.
 */
int64_t collect(const collector *c) {
  int64_t none = 0;
  for (int64_t i = 0; i < c->n; i++) c->mask[i] = UNSEEN;
  together(c, find);
  for (int64_t i = 0, end; i < c->n; i = end + 1) {
    for (end = i; end < c->n && c->mask[end] == UNSEEN; end++) {}
    if (end > i && find(c, i, end, 1) != FOUND) {
      retract(c);
      return -1;
    }
  }
  for (int64_t i = 0; i < c->n; i++) none += c->mask[i] == NONE;
  __atomic_store_n(&ran, 0, __ATOMIC_RELAXED);
  return none;
}

/* Makes what is held undefined, and takes back, where no step was taken, that tensors have changed. */
void drop(collector *c, int taken) {
  if (taken) c->together = __atomic_load_n(&ran, __ATOMIC_RELAXED);
  else retract(c);
  together(c, leave);
  leave(c, 0, c->n, 1);
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

/* Counts a step that was taken, of tensors that had a gradient, and drops. */
void taken(collector *c) {
  for (const steps *s = c->steps; s < c->steps + c->counts; s++) count(s->numbers, s->bits, s->n, c->mask + s->first);
  drop(c, 1);
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
