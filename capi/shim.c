/* The functions of fusestep.h: each looks whether the process is a child after fork, where Go's threads are not, and calls Go, which the first one starts. */
#include <pthread.h>
#include <stdio.h>
#include "_cgo_export.h"

/*
 * A host may have told its threads to flush subnormal numbers, to round otherwise or to trap. Results would then depend on it, so a call calculates as
 * IEEE 754 does by default, and so do threads of Go, which get what the thread has that starts them.
 */
#ifdef __SSE2__
#include <xmmintrin.h>
static unsigned plain(void) {
  unsigned host = _mm_getcsr();
  _mm_setcsr(0x1f80);
  return host;
}
static void restore(unsigned host) { _mm_setcsr(host); }
#else
static unsigned plain(void) { return 0; }
static void restore(unsigned host) { (void)host; }
#endif

/* What starts Go, and wants what main has: build.sh gives it this name. Where another build leaves it to the loader, there is none. */
extern void (*const __start_fs_start_go[])(int, char **, char **) __attribute__((weak, visibility("hidden")));

static int argc;
static char **argv, **envp;

__attribute__((constructor)) static void loaded(int c, char **v, char **e) { argc = c, argv = v, envp = e; }

static volatile int forked;

static void child(void) { forked = 1; }

static void start(void) {
  pthread_atfork(NULL, NULL, child); /* a child of before starts a Go of its own */
  unsigned host = plain();
  if (__start_fs_start_go) __start_fs_start_go[0](argc, argv, envp);
  restore(host);
}

/* Whether Go can be called. It is started by the first call. */
static int usable(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  if (forked) return 0;
  pthread_once(&once, start);
  return 1;
}

static int refuse(char *err, size_t err_len) {
  if (err && err_len)
    snprintf(err, err_len, "fusestep was used before this process was forked, and cannot be used in it: start processes by spawn or forkserver");
  return FS_FORKED;
}

/* Texts are made once. Two threads that make one at the same time make the same, of which one is kept and one lost. */
static const char *text(int which) {
  static const char *texts[2];
  const char *t = __atomic_load_n(&texts[which], __ATOMIC_ACQUIRE);
  if (!t && usable()) {
    t = fusestepText(which);
    __atomic_store_n(&texts[which], t, __ATOMIC_RELEASE);
  }
  return t;
}

const char *fs_version(void) { return text(0); }
const char *fs_describe(void) { return text(1); }

static void work(void *arg, int i) {
  unsigned host = plain();
  fusestepWork((uintptr_t)arg, i);
  restore(host);
}

void fusestep_parallel(fs_parallel parallel, int n, uintptr_t arg) { parallel(n, work, (void *)arg); }

static int done(int rc, unsigned host) {
  restore(host);
  return rc;
}

#define ENTRY(parameters, call) parameters {   \
    if (!usable()) return refuse(err, err_len); \
    unsigned host = plain();                   \
    return done(call, host);                   \
  }

int fs_free(fs_handle handle, char *err, size_t err_len) { return usable() ? fusestepFree(handle, err, err_len) : FS_OK; }

int ENTRY(fs_device(int threads, fs_handle *device, char *err, size_t err_len),
          fusestepDevice(threads, device, err, err_len))
int ENTRY(fs_device_on(int threads, fs_parallel parallel, fs_handle *device, char *err, size_t err_len),
          fusestepDeviceOn(threads, parallel, device, err, err_len))
int ENTRY(fs_cuda(int ordinal, fs_handle *device, char *err, size_t err_len),
          fusestepCUDA(ordinal, device, err, err_len))
int ENTRY(fs_stream(fs_handle optimizer, void *stream, char *err, size_t err_len),
          fusestepStream(optimizer, stream, err, err_len))
int ENTRY(fs_defaults(const char *algorithm, double *out, size_t *n, char *err, size_t err_len),
          fusestepDefaults((char *)algorithm, out, n, err, err_len))
int ENTRY(fs_index(const char *algorithm, const char *name, size_t *index, char *err, size_t err_len),
          fusestepIndex((char *)algorithm, (char *)name, index, err, err_len))
int ENTRY(fs_rule(const char *file, const char *source, const char *prologue, const char *functions, char *out, size_t *len, char *err, size_t err_len),
          fusestepRule((char *)file, (char *)source, (char *)prologue, (char *)functions, out, len, err, err_len))
int ENTRY(fs_new(fs_handle device, const char *algorithm, fs_handle *optimizer, char *err, size_t err_len),
          fusestepNew(device, (char *)algorithm, optimizer, err, err_len))
int ENTRY(fs_slots(const char *algorithm, const fs_group *group, char *out, size_t *len, char *err, size_t err_len),
          fusestepSlots((char *)algorithm, (fs_group *)group, out, len, err, err_len))
int ENTRY(fs_add_group(fs_handle optimizer, const fs_group *group, char *err, size_t err_len),
          fusestepAddGroup(optimizer, (fs_group *)group, err, err_len))
int ENTRY(fs_rows(fs_handle optimizer, size_t group, size_t *rows, char *err, size_t err_len),
          fusestepRows(optimizer, group, rows, err, err_len))
int ENTRY(fs_capture(fs_handle optimizer, const fs_args *args, char *err, size_t err_len),
          fusestepCapture(optimizer, (fs_args *)args, err, err_len))
int ENTRY(fs_step(fs_handle optimizer, const fs_args *args, char *err, size_t err_len),
          fusestepStep(optimizer, (fs_args *)args, err, err_len))
int ENTRY(fs_outcome(fs_handle optimizer, double *grad_norm, int *skipped, char *err, size_t err_len),
          fusestepOutcome(optimizer, grad_norm, skipped, err, err_len))
int ENTRY(fs_counters(fs_handle optimizer, size_t group, double *out, char *err, size_t err_len),
          fusestepCounters(optimizer, group, out, err, err_len))
int ENTRY(fs_set_counters(fs_handle optimizer, size_t group, const double *in, char *err, size_t err_len),
          fusestepSetCounters(optimizer, group, (double *)in, err, err_len))
int ENTRY(fs_row(fs_handle optimizer, size_t group, size_t row, void **out, char *err, size_t err_len),
          fusestepRow(optimizer, group, row, out, err, err_len))
int ENTRY(fs_eval(fs_handle optimizer, size_t group, void *const *to, char *err, size_t err_len),
          fusestepEval(optimizer, group, (void **)to, err, err_len))
