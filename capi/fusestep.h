/*
 * fusestep in C: fused optimizer steps over tensors that the caller owns, in the host's memory or a GPU's.
 *
 *   fs_handle dev, opt;
 *   fs_device(0, &dev, err, sizeof err);
 *   fs_new(dev, "AdamW", &opt, err, sizeof err);
 *   void *values[] = {w, b}, *gradients[] = {dw, db};
 *   fs_group g = {.n = 2, .lengths = lengths, .values = values, .value_type = FS_F32};
 *   fs_add_group(opt, &g, err, sizeof err);
 *   void *const *rows[] = {NULL, gradients, NULL, NULL, NULL};
 *   fs_step(opt, &(fs_args){.rows = rows}, err, sizeof err);
 *
 * Results. A function returns FS_OK, or another FS_ code and then writes one line of UTF-8 to err, cut to err_len bytes with the final 0. err may
 * be NULL. A call that fails leaves tensors and optimizers as they were, unless the text says otherwise.
 *
 * Ownership. Tensors are the caller's, state too where the caller gives it; the library keeps their addresses until the next fs_step that gives
 * others, and looks at what is there only within fs_step, fs_eval and, for a master, within fs_add_group and fs_set_counters. What is pointed to by
 * arguments is copied before a function returns. Strings that are returned are the library's and stay.
 * fs_free gives back a handle and what the library has allocated for it. A device may be freed before its optimizers.
 *
 * Threads. Any thread may call. Calls for one optimizer wait for each other; calls for two run at the same time. A function has done its work
 * when it returns; on a GPU, see fs_cuda.
 *
 * Processes. The first call starts the runtime of Go, with some threads; loading the library does not. It cannot be unloaded. After fork without exec the
 * child of a process that has called has no such threads: there every function fails at once with FS_FORKED, and fs_free does nothing. A child that does
 * not call is not disturbed, and one that was forked before the first call may call. The first call also takes SIGSEGV, SIGBUS, SIGFPE and SIGPIPE, and
 * hands on what Go's own code did not raise to the handlers of before; SIGINT and all others are left alone, but SIGURG, which it uses.
 */
#ifndef FUSESTEP_H
#define FUSESTEP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Results. */
enum {
  FS_OK = 0,
  FS_ARGUMENT = 1,       /* an argument that is NULL, misaligned, of a wrong size or unknown; JSON that cannot be read */
  FS_HYPERPARAMETER = 2, /* a hyperparameter out of its range */
  FS_TENSOR = 3,         /* a tensor that cannot be worked with: its type, or memory that it shares with another */
  FS_HANDLE = 4,         /* a handle that is of no such thing, or was freed */
  FS_FORKED = 5,         /* called in a child process after fork */
  FS_STATE = 6,          /* a state is needed that the caller has not given, where it gives the group's state */
  FS_INTERNAL = 7,       /* anything else; a fault of the library says so */
  FS_RULE = 8,           /* a source that is no rule: the text has file:line:column, or the file alone */
  FS_UNAVAILABLE = 9,    /* there is no such GPU, no driver, or the library was built without CUDA */
  FS_CAPTURING = 10      /* the stream is being captured, or a step of it was: see fs_cuda and fs_capture */
};

/* Types of elements, in JSON "f32", "f64", "bf16", "f16", "i16", "i8". The last two hold remainders, and no values or gradients. */
enum { FS_F32 = 1, FS_F64 = 2, FS_BF16 = 3, FS_F16 = 4, FS_I16 = 5, FS_I8 = 6 };

typedef uint64_t fs_handle; /* 0 is none */

/* The library's version, such as "0.9.0". */
const char *fs_version(void);

/*
 * All algorithms, in JSON: an array of
 *   {"name": "AdamW", "doc": "...", "source": "the paper",
 *    "arguments": [{"name": "lr", "type": "float", "default": 0.001, "positional": true},
 *                  {"name": "betas", "type": "float", "length": 2, "default": [0.9, 0.999], "positional": true},
 *                  {"name": "amsgrad", "type": "bool", "default": false, "positional": true}, ...],
 *    "hyper": ["lr", "betas[0]", "betas[1]", "eps", ...],
 *    "slots": ["exp_avg", "exp_avg_sq", "max_exp_avg_sq"],
 *    "counters": ["step", ...],
 *    "evaluates": false,
 *    "tensors": false,
 *    "matrix": false}
 * Arguments are in torch.optim's order, behind those keyword-only ones, in ours; type is "float", "int" or "bool". Hyper is the order of
 * fs_group.hyper and fs_args.hyper: the arguments, an array as its elements, a truth value as 0 or 1. Slots are the state that the algorithm can
 * have: rows 2 and on; state of a matrix's rows and columns is last. Counters are the columns of fs_counters, and state that a tensor has once
 * is among them, as NovoGrad's exp_avg_sq. Where evaluates is true, fs_eval gives something else than the values. Where
 * tensors is true, a step depends on sums over a tensor, as LAMB's, or over columns: shards of tensors are tensors to it. Where matrix is true,
 * rows or columns of a matrix have numbers, as Adafactor's row_var: see fs_group.matrix_rows.
 * NULL in a child process after fork.
 */
const char *fs_describe(void);

/*
 * The defaults of an algorithm's hyperparameters, in the order of fs_describe's "hyper". *n is the room of out, and becomes how many there are; nothing
 * is written where that is more. Index is where one is, by its name such as "lr" or "betas[1]".
 */
int fs_defaults(const char *algorithm, double *out, size_t *n, char *err, size_t err_len);
int fs_index(const char *algorithm, const char *name, size_t *index, char *err, size_t err_len);

/*
 * Reads a rule of one's own, with no compiler: the text of a Go file as docs/custom-rules.md describes it, the file's name, for errors, and the name of
 * the prologue and those of the other functions, in the order in which they run, with spaces between: of most rules that is the element function. Out gets what fs_describe has of an algorithm; *len is as with fs_slots. Its "name" is for the functions that
 * take an algorithm's. Its arguments are the rule's hyperparameters, which have no defaults (null; in fs_defaults NaN, which is FS_HYPERPARAMETER), and its options
 * and "maximize", which are false. A rule stays as long as the process; the same text again is the same rule.
 */
int fs_rule(const char *file, const char *source, const char *prologue, const char *functions, char *out, size_t *len, char *err, size_t err_len);

/* A device: the host's processors, with so many threads; 0 or less: as many as Go uses. Results have the same bits with any number. */
int fs_device(int threads, fs_handle *device, char *err, size_t err_len);

/*
 * Fs_device on the host's own threads, as those of OpenMP: where these wait by spinning, others would have no processor. Parallel calls work(arg, 0) on the
 * thread that it is called on and, at the same time, work(arg, i) of other i below n, each at most once and on a thread of its own, as many as it has. It returns
 * when all have returned. Fs_step and fs_eval call it, from the thread that calls them. Where Go may use fewer threads than that (its environment variable
 * GOMAXPROCS, or the limit of a control group), it is not called.
 */
typedef void (*fs_parallel)(int n, void (*work)(void *arg, int i), void *arg);
int fs_device_on(int threads, fs_parallel parallel, fs_handle *device, char *err, size_t err_len);

/*
 * A device that is a GPU, by its number: its primary context, which is that of CUDA's runtime and of PyTorch. `make capi-cuda` builds a library that has it; in
 * others it is FS_UNAVAILABLE. Values, gradients and state are there, at addresses of the GPU, all on this one. Everything else is as on the host, bits
 * included, but for this:
 *
 * - fs_step and fs_eval enqueue their work on the optimizer's stream and do not wait for it, except for an fs_step that clips by norm or has
 *   a grad_scale or a found_inf, and is asked for grad_norm or skipped: ask fs_outcome later.
 *   Fs_stream says which CUstream that is, of the primary context: CUDA's default stream, NULL, where it has not been called. It is the caller's, and outlives
 *   the optimizer. Work on memory from another stream is the caller's to order by events, also where fs_stream changes the stream.
 * - Values and gradients may be elsewhere at each step, for which a table is copied to the GPU again, in the order of the stream. State stays where it was given: FS_TENSOR otherwise.
 * - A step with another set of tensors left out than the one before, by mask or by NULL, makes its tables again, and waits for the steps before.
 * - A stream that the caller captures is refused with FS_CAPTURING, by all but fs_capture.
 * - grad_scale and found_inf are addresses of the GPU, and what is there is read when the step runs. With found_inf, and without a norm to clip to, no step
 *   looks for NaN and infinities itself.
 */
int fs_cuda(int ordinal, fs_handle *device, char *err, size_t err_len);
int fs_stream(fs_handle optimizer, void *stream, char *err, size_t err_len);

/* An optimizer without groups. Algorithm is a name of fs_describe or fs_rule. */
int fs_new(fs_handle device, const char *algorithm, fs_handle *optimizer, char *err, size_t err_len);

/*
 * A group of tensors with hyperparameters of their own.
 *
 * A table has rows of n pointers: row 0 the values, row 1 the gradients, from 2 on the state, in the order of fs_describe's slots; then "ema", if
 * options has ema_decay; then "master" (or "remainder"), if options has master. An address is a multiple of its element's size. Tensors are dense:
 * lengths are elements, and all of a tensor's buffers have its elements in the same order.
 *
 * Options are JSON, NULL is {}:
 *   {"names": ["weight", "bias"],      of the tensors, for errors and for the noise; else "0.0", "0.1", ...: the group, the tensor
 *    "state": {"exp_avg": "bf16"},     types of state, and
 *    "all": "bf16",                    of all other; else what is calculated with: f64 for f64, f32 for all others
 *    "master": "f32",                  beside values of 16 bits: "f32", "i16", "i8"; values of f32 and f64 need none
 *    "stochastic": true, "seed": 1,    values without a master and state of 16 bits are rounded stochastically
 *    "ema_decay": 0.999,               an average of the values is kept, for fs_eval
 *    "l1": 0.1, "l2": 0.1}             penalties beside the algorithm's own: L1 penalty, and the coupled L2 penalty
 */
typedef struct {
  size_t n;                 /* tensors */
  const size_t *lengths;    /* elements of each */
  void *const *values;      /* n: row 0 */
  const double *hyper;      /* NULL: the defaults */
  const char *options;      /* JSON, or NULL */
  uint8_t value_type;       /* of all values, where value_types is NULL: FS_F32, ... */
  uint8_t gradient_type;    /* of all gradients, where gradient_types is NULL; 0: as the values */
  const uint8_t *value_types, *gradient_types; /* n, or NULL */
  /*
   * The state: rows from 2 on, as many as fs_slots lists, each NULL or of n pointers. Where all are NULL, the library allocates the state and starts it.
   * Otherwise the caller has all of it: what is needed and not given is FS_STATE. It is used as it is, so the caller has set it to fs_slots' start,
   * or goes on from it.
   */
  void *const *const *state;
  /*
   * n, or NULL: into how many rows of contiguous elements each tensor is cut, as a matrix of an algorithm with numbers of rows or columns; 0: into none.
   * A dense tensor of shape R, C has R rows. State of rows has as many numbers as these, that of columns as a row has elements.
   */
  const size_t *matrix_rows;
  /*
   * n, or NULL: of how many matrices each tensor's rows are, one behind the other, with as many rows each; 0: of one. A dense tensor of shape M, R, C has
   * M·R rows of M matrices, if there is to be one for each place on the axes before the last two, as in PyTorch's Adafactor. Each has columns of its own.
   */
  const size_t *matrices;
} fs_group;

/*
 * The rows from 2 on that a tensor of the types has with the algorithm and hyperparameters, in JSON:
 *   [{"name": "exp_avg", "type": "f32", "used": true, "of": "elements", "start": 0}, ...]
 * Where used is false, the hyperparameters need no such state, type is "", and pointers may be NULL. Of is what has the numbers: "elements", "rows"
 * or "columns". Start is what they are before the first step; null: a master, which starts as 0 and follows the value. Where a step
 * only reads it, as Sophia's hessian, which the caller writes, there is "given": true. Of group it reads hyper,
 * options, value_type and gradient_type, and of n matrix_rows whether the first is 0, as matrices have other state than vectors. *len is the size of
 * out, and becomes what is needed with the final 0; nothing is written where that is more.
 */
int fs_slots(const char *algorithm, const fs_group *group, char *out, size_t *len, char *err, size_t err_len);

/* Adds a group. Its index is the number of those before it. Gradients come with fs_step. */
int fs_add_group(fs_handle optimizer, const fs_group *group, char *err, size_t err_len);

/* How many rows a group's table has. */
int fs_rows(fs_handle optimizer, size_t group, size_t *rows, char *err, size_t err_len);

typedef struct {
  const double *hyper;        /* of all groups, one group's behind the other's; NULL: as before */
  void *const *const *rows;   /* of all groups, one group's behind the other's; a row that is NULL is as before. NULL: all are */
  const uint8_t *mask;        /* of all groups' tensors: 0 leaves one out. NULL: those whose gradient is NULL are left out */
  const float *grad_scale;    /* gradients are divided by it, as torch's GradScaler has it; NULL: they are not */
  const float *found_inf;     /* not 0: the step is skipped; NULL: 0 */
  double max_norm;            /* above 0: all gradients are clipped to this L2 norm, as clip_grad_norm_ does; 0: they are not */
  double max_tensor_norm;     /* above 0: each gradient by itself is clipped to this L2 norm, after max_norm, as clip_grad_norm_ of one; 0: it is not */
  double clip_value;          /* above 0: each number of a gradient is clipped, as clip_grad_value_ does; 0: it is not */
  double adaptive_clip;       /* above 0: the gradient of each of a tensor's matrix_rows, or of a tensor without, is clipped to so much of its parameter's norm,
                                 after these norms and before clip_value, as timm's adaptive_clip_grad(clip_factor, eps) does; 0: it is not */
  double adaptive_eps;        /* the least such norm that it takes: timm's eps, 1e-3 there */
  double *grad_norm;          /* NULL, or gets the norm before clipping, where max_norm or max_tensor_norm is above 0 */
  int *skipped;               /* NULL, or becomes 1 where the step was skipped, and 0 where not */
  const double *const *lr;    /* of fs_capture: where on the GPU each group's learning rate is, NULL: hyper has it. NULL: all have. */
} fs_args;

/*
 * Takes a step. Tensors that are left out keep values and state, and do not count the step, as where torch's grad is None. Tensors without elements
 * may have NULL, and are in where mask says so. With grad_scale a step is also skipped where a gradient is NaN or infinite. Gradients stay as they are:
 * they are scaled and clipped as they are read. Hyperparameters and addresses that come with a step that is skipped, or that fails, may be those of the
 * next ones, too. FS_STATE says that hyperparameters which have changed need state that the caller, who has this group's, has not given, as amsgrad
 * does: then an optimizer is made anew, with fs_counters of this one.
 */
int fs_step(fs_handle optimizer, const fs_args *args, char *err, size_t err_len);

/*
 * Puts a step into the CUDA graph that the caller captures of the optimizer's stream, and takes none. From then on each launch of the graph is a step. The
 * GPU counts it, and computes what follows from the count, such as bias corrections; grad_scale, found_inf and lr are read each time. All else is as args has
 * it now: the other hyperparameters, limits of clipping, and where values, gradients and state are. grad_norm and skipped are not looked at: ask fs_outcome.
 *
 * A step must have been taken before, outside of the capture, of the same tensors, and behind fs_set_counters: else FS_CAPTURING. Where the
 * optimizer has no GPU or its stream is not being captured, FS_ARGUMENT. On an error the capture is to be given up. No stream is waited for that is
 * captured; what is allocated, CUDA allows in any mode of capture.
 *
 * Launches may be mixed with fs_step, on streams that wait for each other. An fs_step that would leave out some of the tensors that were captured together is
 * FS_CAPTURING. fs_counters, fs_outcome and fs_eval have what launches have done, where fs_stream's stream comes behind them. What the graph needs is kept until fs_free:
 * then, and when the caller's tensors are gone, it must not be launched any more.
 */
int fs_capture(fs_handle optimizer, const fs_args *args, char *err, size_t err_len);

/*
 * What became of the last step, of those that clipped by norm or had a grad_scale or a found_inf on a GPU: grad_norm and skipped, each or NULL, as fs_step would have told. It waits for the
 * step. FS_ARGUMENT where there was none.
 */
int fs_outcome(fs_handle optimizer, double *grad_norm, int *skipped, char *err, size_t err_len);

/*
 * What a group's tensors have counted: out gets, of each tensor, a number for each of fs_describe's counters. "step" is what torch calls step.
 */
int fs_counters(fs_handle optimizer, size_t group, double *out, char *err, size_t err_len);

/*
 * Sets that, for training that goes on. A NaN is what so many steps as "step" says make of it with the hyperparameters as they are; of schedule-free
 * algorithms it must be saved, and state that a tensor has once stays as it is. Of a tensor all of whose numbers are NaN nothing changes.
 */
int fs_set_counters(fs_handle optimizer, size_t group, const double *in, char *err, size_t err_len);

/* The addresses of a row as they are now, 0 where there is nothing: n pointers. So state that the library has allocated is found. */
int fs_row(fs_handle optimizer, size_t group, size_t row, void **out, char *err, size_t err_len);

/*
 * Writes what is to be evaluated to memory of the caller's: n pointers to as many elements as the values, of their types; a NULL passes one over.
 * Values and state stay.
 */
int fs_eval(fs_handle optimizer, size_t group, void *const *to, char *err, size_t err_len);

/* Gives back an optimizer or a device. 0 is nothing. */
int fs_free(fs_handle handle, char *err, size_t err_len);

#ifdef __cplusplus
}
#endif
#endif
